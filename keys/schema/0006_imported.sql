-- Since when it is known that another server had the private half, NULL for all
-- other keys: also of keys that are offline here, which online_key does not have.
ALTER TABLE public_key_use ADD COLUMN imported BIGINT;
UPDATE public_key_use SET imported = (SELECT o.imported FROM online_key o WHERE o.key_id = public_key_use.key_id);
ALTER TABLE online_key DROP COLUMN imported;
