package api

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"sealift/internal/fault"
	"sealift/internal/web"
	"sealift/repo"
	"sealift/treehub"
	"sealift/treehub/ostree"
	"sealift/uptane"
)

func (s *server) getRef(c *gin.Context) {
	commit, err := s.treehub.Ref(c.Request.Context(), web.MustCaller(c).Namespace, c.Param("name"))
	if err != nil {
		web.Fail(c, err)
		return
	}
	web.Raw(c, "text/plain; charset=utf-8", []byte(commit.String()))
}

// postRef takes any content type: garage-push sends two, depending on whether
// it uploaded something before.
func (s *server) postRef(c *gin.Context) {
	body, err := web.Body(c, maxRef)
	if err != nil {
		web.Fail(c, err)
		return
	}
	commit, err := ostree.ParseChecksum(string(body))
	if err != nil {
		web.Fail(c, web.ErrInvalid.With("body: "+err.Error()))
		return
	}
	who := web.MustCaller(c)
	if err := maySetRef(who, c.Param("name")); err != nil {
		web.Fail(c, err)
		return
	}
	err = s.treehub.SetRef(c.Request.Context(), who.Namespace, treehub.RefUpdate{
		Name: c.Param("name"), Commit: commit, By: who.String(),
		Force: strings.EqualFold(c.GetHeader("x-ats-ostree-force"), "true"),
	})
	if err != nil {
		web.Fail(c, err)
		return
	}
	web.Raw(c, "text/plain; charset=utf-8", []byte(commit.String()))
}

// maySetRef refuses refs of others to who is confined to delegated roles: those of a
// role lie below its name.
func maySetRef(who web.Caller, name string) error {
	below := func(role uptane.Role) bool { return strings.HasPrefix(name, string(role)+"/") }
	if len(who.ConfinedPush) == 0 || slices.ContainsFunc(who.ConfinedPush, below) {
		return nil
	}
	return repo.ErrConfined.Withf("ref %.100q lies below none of %q, as in %s/main", name, who.ConfinedPush, who.ConfinedPush[0])
}

// mayAttach refuses what is replaced by the next who brings it, and belongs to
// commits of whoever, to who is confined to delegated roles.
func mayAttach(who web.Caller, what string) error {
	if len(who.ConfinedPush) == 0 {
		return nil
	}
	return repo.ErrConfined.Withf("%s could be those of somebody else's commit", what)
}

var errNoCommit = fault.New(fault.NotFound, "missing_entity", "no such commit")

// commitParam reads the path parameter commit, ErrInvalid if it is none.
func commitParam(c *gin.Context) (ostree.Checksum, error) {
	commit, err := ostree.ParseChecksum(c.Param("commit"))
	if err != nil {
		return commit, web.ErrInvalid.With("commit: " + err.Error())
	}
	return commit, nil
}

func (s *server) putManifest(c *gin.Context) {
	commit, err := commitParam(c)
	var doc []byte
	if err == nil {
		doc, err = web.Body(c, maxManifest)
	}
	if err == nil {
		err = mayAttach(web.MustCaller(c), "manifests")
	}
	if err == nil {
		err = s.treehub.PutManifest(c.Request.Context(), web.MustCaller(c).Namespace, commit, doc)
	}
	if err != nil {
		web.Fail(c, err)
		return
	}
	c.Status(http.StatusOK)
}

func (s *server) getManifest(c *gin.Context) {
	commit, err := commitParam(c)
	var doc []byte
	if err == nil {
		doc, err = s.treehub.Manifest(c.Request.Context(), web.MustCaller(c).Namespace, commit)
	}
	if err != nil {
		web.Fail(c, err)
		return
	}
	web.Raw(c, "application/json", doc)
}

type commitView struct {
	Checksum    ostree.Checksum  `json:"checksum"`
	Parent      *ostree.Checksum `json:"parent"`
	Subject     string           `json:"subject"`
	CommittedAt time.Time        `json:"committedAt"`
	PushedAt    time.Time        `json:"pushedAt"`
	PushedBy    string           `json:"pushedBy"`
	Complete    bool             `json:"complete"`
	Objects     int64            `json:"objects"`
	Size        int64            `json:"size"`
	Refs        []string         `json:"refs"`
}

func viewCommit(c treehub.Commit) commitView {
	v := commitView{Checksum: c.Checksum, Subject: c.Subject, CommittedAt: c.CommittedAt, PushedAt: c.PushedAt,
		PushedBy: c.PushedBy, Complete: c.Complete, Objects: c.Objects, Size: c.Size, Refs: append([]string{}, c.Refs...)}
	if !c.Parent.IsZero() {
		v.Parent = &c.Parent
	}
	return v
}

func (s *server) getCommits(c *gin.Context) {
	page, err := web.PageOf(c)
	if err != nil {
		web.Fail(c, err)
		return
	}
	list, total, err := s.treehub.Commits(c.Request.Context(), web.MustCaller(c).Namespace, page.Offset, page.Limit)
	if err != nil {
		web.Fail(c, err)
		return
	}
	views := make([]commitView, len(list))
	for i, commit := range list {
		views[i] = viewCommit(commit)
	}
	web.List(c, page, views, total)
}

func (s *server) getCommit(c *gin.Context) {
	checksum, err := commitParam(c)
	var commit treehub.Commit
	if err == nil {
		commit, err = s.treehub.Commit(c.Request.Context(), web.MustCaller(c).Namespace, checksum)
	}
	if errors.Is(err, treehub.ErrObjectMissing) {
		err = errNoCommit
	}
	if err != nil {
		web.Fail(c, err)
		return
	}
	c.PureJSON(http.StatusOK, viewCommit(commit))
}

type refView struct {
	Name      string          `json:"name"`
	Commit    ostree.Checksum `json:"commit"`
	UpdatedAt time.Time       `json:"updatedAt"`
	UpdatedBy string          `json:"updatedBy"`
}

func (s *server) getRefs(c *gin.Context) {
	page, err := web.PageOf(c)
	if err != nil {
		web.Fail(c, err)
		return
	}
	list, total, err := s.treehub.Refs(c.Request.Context(), web.MustCaller(c).Namespace, page.Offset, page.Limit)
	if err != nil {
		web.Fail(c, err)
		return
	}
	views := make([]refView, len(list))
	for i, ref := range list {
		views[i] = refView{Name: ref.Name, Commit: ref.Commit, UpdatedAt: ref.UpdatedAt, UpdatedBy: ref.UpdatedBy}
	}
	web.List(c, page, views, total)
}
