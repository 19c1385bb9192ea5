package gateway

import (
	"context"

	"sealift/internal/web"
	"sealift/uptane"
)

// requireNewest refuses all metadata of a repository that was restored from a
// backup and is older than what is known to exist, so that no device sees a
// version go back.
func (s *server) requireNewest(ctx context.Context, who web.Caller, repository uptane.Repository, filename string) error {
	if err := s.showRoot(ctx, who, repository, filename); err != nil {
		return err
	}
	if repository == uptane.ImageRepository {
		return s.repo.RequireNewest(ctx, who.Namespace)
	}
	return s.vault.RequireRoot(ctx, who.Namespace, repository)
}

// showRoot takes note of the root that a device has: the one before the one it
// asks for.
func (s *server) showRoot(ctx context.Context, who web.Caller, repository uptane.Repository, filename string) error {
	role, version, err := uptane.ParseFilename(filename)
	if err != nil || role != uptane.RoleRoot || version < 2 {
		return nil
	}
	return s.vault.ShowRoot(ctx, who.Namespace, repository, version-1, "device "+string(who.OEMID))
}
