package api

import (
	"encoding/json"
	"net/http"
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
	var ids []uptane.HardwareID
	if err == nil {
		ids, err = s.repo.PackageHardware(c.Request.Context(), web.MustCaller(c).Namespace)
	}
	if err != nil {
		web.Fail(c, err)
		return
	}
	web.List(c, page, pageOf(page, ids), len(ids))
}

// pageOf cuts a page out of a list.
func pageOf[T any](p web.Page, list []T) []T {
	from := min(p.Offset, len(list))
	return list[from:min(from+p.Limit, len(list))]
}

// order reads how a list is to be sorted: by time, which is usual, or by name.
func order(c *gin.Context, byTime, byName string) (repo.PackageOrder, error) {
	o := repo.PackageOrder{Down: true}
	switch asked := c.Query("sortBy"); {
	case asked == "" || strings.EqualFold(asked, byTime):
	case strings.EqualFold(asked, byName):
		o.ByName = true
	default:
		return o, web.ErrInvalid.Withf("sortBy must be one of %s, %s", byTime, byName)
	}
	switch asked := c.Query("sortDirection"); {
	case asked == "" || strings.EqualFold(asked, "desc"):
	case strings.EqualFold(asked, "asc"):
		o.Down = false
	default:
		return o, web.ErrInvalid.With("sortDirection must be Asc or Desc")
	}
	return o, nil
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
	var o repo.PackageOrder
	if err == nil {
		o, err = order(c, "CreatedAt", "Filename")
	}
	var ask packageSearch
	if err == nil && c.Request.ContentLength != 0 {
		err = web.DecodeLooseJSON(c, maxEdit, &ask)
	}
	var list []repo.Package
	var total int
	if err == nil {
		list, total, err = s.repo.Packages(c.Request.Context(), web.MustCaller(c).Namespace, repo.PackageQuery(ask), o, page.Limit, page.Offset)
	}
	if err != nil {
		web.Fail(c, err)
		return
	}
	web.List(c, page, mapped(list, viewPackage), total)
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
	var o repo.PackageOrder
	if err == nil {
		o, err = order(c, "LastVersionAt", "Name")
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
	var groups []repo.PackageGroup
	var total int
	if err == nil {
		groups, total, err = s.repo.PackageGroups(c.Request.Context(), web.MustCaller(c).Namespace, q, o, page.Limit, page.Offset)
	}
	if err != nil {
		web.Fail(c, err)
		return
	}
	web.List(c, page, mapped(groups, func(g repo.PackageGroup) packageGroup { return packageGroup(g) }), total)
}
