package access

import (
	"slices"
	"strings"

	"sealift/uptane"
)

// The permissions routes demand of callers with a token. Each area has one to
// look and one to change; who may change may look.
const (
	TreehubRead   = "treehub:read"
	TreehubPush   = "treehub:push"
	RepoRead      = "repo:read"
	RepoSign      = "repo:sign"     // images, offline-signed metadata, the Director's root too
	RepoDelegate  = "repo:delegate" // images and metadata of delegated roles
	DirectorRead  = "director:read"
	DirectorWrite = "director:write"
	RegistryRead  = "registry:read"
	RegistryWrite = "registry:write"
	KeysRead      = "keys:read"
	KeysWrite     = "keys:write" // certificates, online keys
	AccessRead    = "access:read"
	AccessWrite   = "access:write" // tokens
)

// Scope is what a token is made for; a token has one or several.
type Scope string

// The scopes.
const (
	Read          Scope = "read"           // look at everything but tokens
	PushTreehub   Scope = "treehub:push"   // a build job's garage-push
	SignRepo      Scope = "repo:sign"      // garage-sign
	WriteDirector Scope = "director:write" // updates and assignments
	WriteRegistry Scope = "registry:write" // devices' names, groups, events
	Admin         Scope = "admin"          // everything in its namespace
)

// supplier begins the scope of a delegated role.
const supplier = "delegation:"

// Supplier is the scope of who signs for a delegated role: to bring metadata and
// images of it and of the roles below it, OSTree objects and refs below its name,
// and nothing else. The role need not exist yet.
func Supplier(role uptane.Role) Scope { return Scope(supplier + string(role)) }

// role is the delegated role that s is for.
func (s Scope) role() (uptane.Role, bool) {
	name, ok := strings.CutPrefix(string(s), supplier)
	return uptane.Role(name), ok && uptane.Role(name).Delegation()
}

// Scopes returns all scopes but those of [Supplier].
func Scopes() []Scope {
	return []Scope{Read, PushTreehub, SignRepo, WriteDirector, WriteRegistry, Admin}
}

// Permissions returns what s grants; an unknown scope grants nothing.
func (s Scope) Permissions() []string {
	switch s {
	case Read:
		return []string{TreehubRead, RepoRead, DirectorRead, RegistryRead, KeysRead}
	case PushTreehub:
		return []string{TreehubRead, TreehubPush, RepoRead} // garage-check looks into targets
	case SignRepo:
		return []string{RepoRead, RepoSign, RepoDelegate, TreehubRead}
	case WriteDirector:
		return []string{DirectorRead, DirectorWrite, RegistryRead, RepoRead}
	case WriteRegistry:
		return []string{RegistryRead, RegistryWrite, DirectorRead}
	case Admin:
		return []string{
			TreehubRead, TreehubPush, RepoRead, RepoSign, RepoDelegate, DirectorRead, DirectorWrite,
			RegistryRead, RegistryWrite, KeysRead, KeysWrite, AccessRead, AccessWrite,
		}
	}
	if _, ok := s.role(); ok {
		return []string{RepoRead, RepoDelegate, TreehubRead, TreehubPush}
	}
	return nil
}

// confined returns the delegated roles to which the scopes confine their token, none
// where one of them gives the permission without such a limit.
func confined(scopes []Scope, permission string) []uptane.Role {
	var roles []uptane.Role
	for _, s := range scopes {
		if role, ok := s.role(); ok {
			roles = append(roles, role)
		} else if slices.Contains(s.Permissions(), permission) {
			return nil
		}
	}
	return roles
}

// permissions returns what the scopes grant together, sorted.
func permissions(scopes []Scope) []string {
	var list []string
	for _, s := range scopes {
		list = append(list, s.Permissions()...)
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// checkScopes returns the scopes sorted, each once.
func checkScopes(scopes []Scope) ([]Scope, error) {
	if len(scopes) == 0 {
		return nil, ErrMalformed.With("a token needs a scope")
	}
	list := slices.Clone(scopes)
	slices.Sort(list)
	list = slices.Compact(list)
	for _, s := range list {
		if s.Permissions() == nil {
			return nil, ErrMalformed.Withf("there is no scope %q; there are %s %sROLE", s, joinScopes(Scopes()), supplier)
		}
	}
	return list, nil
}

func joinScopes(scopes []Scope) string {
	var b strings.Builder
	for i, s := range scopes {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(string(s))
	}
	return b.String()
}

func splitScopes(text string) []Scope {
	var list []Scope
	for s := range strings.FieldsSeq(text) {
		list = append(list, Scope(s))
	}
	return list
}
