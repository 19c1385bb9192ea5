-- What the people of a namespace were told about something that ends: once for
-- each step. The server's own things have the namespace ''.
CREATE TABLE access_notice (
    namespace TEXT   NOT NULL,
    thing     TEXT   NOT NULL,
    ends      BIGINT NOT NULL,
    days      BIGINT NOT NULL, -- before the end; 0: it has ended
    told_at   BIGINT NOT NULL,
    PRIMARY KEY (namespace, thing, ends, days)
);
