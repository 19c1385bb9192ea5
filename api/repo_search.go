package api

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"sealift/access"
	"sealift/internal/web"
	"sealift/repo"
	"sealift/uptane"
)

const searchPrefix = "/api/v2/user_repo"

// searchRoutes find targets of the top level and of delegated roles alike.
func (s *server) searchRoutes() []web.Route {
	return []web.Route{
		{Method: http.MethodGet, Pattern: searchPrefix + "/packages/*filename", Permission: access.RepoRead, Handler: s.getPackage},
		{Method: http.MethodGet, Pattern: searchPrefix + "/hardwareids-packages", Permission: access.RepoRead, Handler: s.getPackageHardware},
		{Method: http.MethodPost, Pattern: searchPrefix + "/search", Permission: access.RepoRead, Handler: s.searchPackages},
		{Method: http.MethodGet, Pattern: searchPrefix + "/grouped-search", Permission: access.RepoRead, Handler: s.groupPackages},
	}
}

type packageView struct {
	Name        string                     `json:"name"`
	Version     string                     `json:"version"`
	Filename    string                     `json:"filename"`
	Origin      string                     `json:"origin"`
	Length      int64                      `json:"length"`
	Hashes      map[string]string          `json:"hashes"`
	URI         *string                    `json:"uri"`
	HardwareIDs []uptane.HardwareID        `json:"hardwareIds"`
	CreatedAt   time.Time                  `json:"createdAt"`
	Custom      map[string]json.RawMessage `json:"customData"`
}

func viewPackage(p repo.Package) packageView {
	return packageView{p.Name, p.Version, p.Filename, p.Origin, p.Length, map[string]string{"sha256": p.SHA256}, orNull(p.URI),
		p.HardwareIDs, p.CreatedAt, p.Proprietary}
}

func (s *server) getPackage(c *gin.Context) {
	p, err := s.repo.Package(c.Request.Context(), web.MustCaller(c).Namespace, c.Param("filename"), c.Query("originNot"))
	if err != nil {
		web.Fail(c, err)
		return
	}
	c.PureJSON(http.StatusOK, viewPackage(p))
}

func (s *server) getPackageHardware(c *gin.Context) {
	page, err := web.PageOf(c)
	var list []repo.Package
	if err == nil {
		list, err = s.repo.Packages(c.Request.Context(), web.MustCaller(c).Namespace, repo.PackageQuery{})
	}
	if err != nil {
		web.Fail(c, err)
		return
	}
	var ids []uptane.HardwareID
	for _, p := range list {
		ids = append(ids, p.HardwareIDs...)
	}
	slices.Sort(ids)
	ids = slices.Compact(ids)
	web.List(c, page, pageOf(page, ids), len(ids))
}

// pageOf cuts a page out of a list.
func pageOf[T any](p web.Page, list []T) []T {
	from := min(p.Offset, len(list))
	return list[from:min(from+p.Limit, len(list))]
}

// order reads what a list is to be sorted by; the first name is the usual one.
func order(c *gin.Context, names ...string) (by string, down bool, err error) {
	by, down = names[0], true
	if asked := c.Query("sortBy"); asked != "" {
		i := slices.IndexFunc(names, func(n string) bool { return strings.EqualFold(n, asked) })
		if i < 0 {
			return "", false, web.ErrInvalid.Withf("sortBy must be one of %s", strings.Join(names, ", "))
		}
		by = names[i]
	}
	switch asked := c.Query("sortDirection"); {
	case asked == "" || strings.EqualFold(asked, "desc"):
	case strings.EqualFold(asked, "asc"):
		down = false
	default:
		return "", false, web.ErrInvalid.With("sortDirection must be Asc or Desc")
	}
	return by, down, nil
}

// packageSearch is the body of a search; all of it may be left out.
type packageSearch struct {
	Origins      []string            `json:"origin"`
	OriginNot    string              `json:"originNot"`
	NameContains string              `json:"nameContains"`
	Name         string              `json:"name"`
	Version      string              `json:"version"`
	HardwareIDs  []uptane.HardwareID `json:"hardwareIds"`
	Hashes       []string            `json:"hashes"`
	Filenames    []string            `json:"filenames"`
	HasSBOM      *bool               `json:"hasSBOM"`
}

func (s *server) searchPackages(c *gin.Context) {
	page, err := web.PageOf(c)
	var by string
	var down bool
	if err == nil {
		by, down, err = order(c, "CreatedAt", "Filename")
	}
	var ask packageSearch
	if err == nil && c.Request.ContentLength != 0 {
		err = web.DecodeLooseJSON(c, maxEdit, &ask)
	}
	var list []repo.Package
	if err == nil {
		list, err = s.repo.Packages(c.Request.Context(), web.MustCaller(c).Namespace, repo.PackageQuery(ask))
	}
	if err != nil {
		web.Fail(c, err)
		return
	}
	if by == "CreatedAt" {
		slices.SortStableFunc(list, func(a, b repo.Package) int { return a.CreatedAt.Compare(b.CreatedAt) })
	}
	if down {
		slices.Reverse(list)
	}
	views := make([]packageView, 0, page.Limit)
	for _, p := range pageOf(page, list) {
		views = append(views, viewPackage(p))
	}
	web.List(c, page, views, len(list))
}

// packageGroup is all packages of a name.
type packageGroup struct {
	Name          string              `json:"name"`
	Versions      []string            `json:"versions"`
	HardwareIDs   []uptane.HardwareID `json:"hardwareIds"`
	Origins       []string            `json:"origins"`
	LastVersionAt time.Time           `json:"lastVersionAt"`
}

func (s *server) groupPackages(c *gin.Context) {
	page, err := web.PageOf(c)
	var by string
	var down bool
	if err == nil {
		by, down, err = order(c, "LastVersionAt", "Name")
	}
	q := repo.PackageQuery{Origins: csv(c.Query("origin")), OriginNot: c.Query("originNot"), NameContains: c.Query("nameContains"),
		Name: c.Query("name"), Version: c.Query("version"), Hashes: csv(c.Query("hashes")), Filenames: csv(c.Query("filenames"))}
	for _, id := range csv(c.Query("hardwareIds")) {
		q.HardwareIDs = append(q.HardwareIDs, uptane.HardwareID(id))
	}
	if asked := c.Query("hasSBOM"); err == nil && asked != "" {
		has, wrong := strconv.ParseBool(asked)
		if q.HasSBOM = &has; wrong != nil {
			err = web.ErrInvalid.With("hasSBOM must be true or false")
		}
	}
	var list []repo.Package
	if err == nil {
		list, err = s.repo.Packages(c.Request.Context(), web.MustCaller(c).Namespace, q)
	}
	if err != nil {
		web.Fail(c, err)
		return
	}
	groups := grouped(list)
	if by == "LastVersionAt" {
		slices.SortStableFunc(groups, func(a, b packageGroup) int { return a.LastVersionAt.Compare(b.LastVersionAt) })
	}
	if down {
		slices.Reverse(groups)
	}
	web.List(c, page, pageOf(page, groups), len(groups))
}

// grouped puts packages of a name together, in the order of the names.
func grouped(list []repo.Package) []packageGroup {
	slices.SortStableFunc(list, func(a, b repo.Package) int { return strings.Compare(a.Name, b.Name) })
	groups := []packageGroup{}
	for _, p := range list {
		if len(groups) == 0 || groups[len(groups)-1].Name != p.Name {
			groups = append(groups, packageGroup{Name: p.Name, Versions: []string{}, HardwareIDs: []uptane.HardwareID{}, Origins: []string{}})
		}
		g := &groups[len(groups)-1]
		g.Versions, g.HardwareIDs, g.Origins = append(g.Versions, p.Version), append(g.HardwareIDs, p.HardwareIDs...), append(g.Origins, p.Origin)
		if p.CreatedAt.After(g.LastVersionAt) {
			g.LastVersionAt = p.CreatedAt
		}
	}
	for i := range groups {
		g := &groups[i]
		g.Versions, g.HardwareIDs, g.Origins = distinct(g.Versions), distinct(g.HardwareIDs), distinct(g.Origins)
	}
	return groups
}

func distinct[T ~string](list []T) []T {
	slices.Sort(list)
	return slices.Compact(list)
}
