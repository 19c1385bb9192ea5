package ostree

import (
	"errors"
	"fmt"
)

// ErrNotFound is returned, possibly wrapped, for an object or a ref that a
// repository does not have.
var ErrNotFound = errors.New("not found")

// RuleError says that bytes or a name break a rule of the OSTree format.
//
// The rules are name, ref_name; object_hash_mismatch, object_length_mismatch,
// object_too_large; gvariant_type, gvariant_too_deep, gvariant_not_normal;
// metadata_key; commit_parent, commit_related, commit_root, commit_timestamp;
// dirtree_name, dirtree_order, dirtree_duplicate, dirtree_checksum;
// dirmeta_mode; xattr_name, xattr_duplicate; filez_truncated, filez_header,
// filez_padding, filez_rdev, filez_mode, filez_symlink, filez_symlink_payload,
// filez_deflate, filez_size_mismatch, filez_too_large, filez_trailing_data;
// tombstone_commit.
type RuleError struct {
	// Rule is a short code that stays the same for ever.
	Rule string
	// Detail says in words what was found; it never holds raw outside bytes.
	Detail string
}

// Error returns the detail followed by the rule's code.
func (e *RuleError) Error() string { return e.Detail + " (" + e.Rule + ")" }

func broken(rule, format string, args ...any) error {
	return &RuleError{Rule: rule, Detail: fmt.Sprintf(format, args...)}
}
