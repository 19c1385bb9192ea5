package repo

import (
	"context"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"sealift/internal/fault"
	"sealift/uptane"
	"sealift/uptane/acceptance"
)

// DocumentSize is how much of what devices can read a document uses.
type DocumentSize struct {
	Role uptane.Role
	acceptance.Size
}

// Sizes are those of what devices read of a repository: root, targets, snapshot,
// timestamp, and of delegated roles those whose size is high. A document that is
// not there is left out.
func (r *Repo) Sizes(ctx context.Context, ns uptane.Namespace) ([]DocumentSize, error) {
	var list []DocumentSize
	for _, role := range []uptane.Role{uptane.RoleRoot, uptane.RoleTargets, uptane.RoleSnapshot, uptane.RoleTimestamp} {
		doc, err := r.Metadata(ctx, ns, role.Filename(0))
		if fault.Of(err) != nil {
			continue
		}
		if err != nil {
			return nil, err
		}
		list = append(list, DocumentSize{role, sizeOf(role, doc.Bytes)})
	}
	rows, err := r.store.delegatedSizes(ctx, ns, MaxTargets/2)
	if err != nil {
		return nil, fmt.Errorf("reading sizes of delegated metadata of %s: %w", ns, err)
	}
	for _, row := range rows {
		if size := (acceptance.Size{Bytes: row.Bytes, Limit: MaxTargets}); size.High() {
			list = append(list, DocumentSize{row.Role, size})
		}
	}
	return list, nil
}

func sizeOf(role uptane.Role, doc []byte) acceptance.Size {
	return acceptance.SizeOf(uptane.Uptane, uptane.ImageRepository, role, doc)
}

// watch tells the operator while there is still time that a document comes near
// what clients read.
func (r *Repo) watch(ctx context.Context, ns uptane.Namespace, role uptane.Role, doc []byte) {
	if size := sizeOf(role, doc); size.High() {
		r.log.WarnContext(ctx, "metadata come near what devices read; remove old targets, or split them into delegated roles",
			"namespace", ns, "role", role, "bytes", size.Bytes, "limit", size.Limit, "percent", size.Percent())
	}
}

// Collector gives Prometheus the sizes of all namespaces, when it asks.
func (r *Repo) Collector() prometheus.Collector {
	labels := []string{"namespace", "role"}
	return sizes{r, prometheus.NewDesc("sealift_metadata_bytes", "Size of image metadata as it is served.", labels, nil),
		prometheus.NewDesc("sealift_metadata_limit_bytes", "What devices read of it at most.", labels, nil)}
}

type sizes struct {
	repo         *Repo
	bytes, limit *prometheus.Desc
}

// Describe is that of prometheus.Collector.
func (s sizes) Describe(to chan<- *prometheus.Desc) { to <- s.bytes; to <- s.limit }

// Collect is that of prometheus.Collector. What cannot be read is left out.
func (s sizes) Collect(to chan<- prometheus.Metric) {
	ctx := context.Background()
	list, err := s.repo.store.namespaces(ctx)
	if err != nil {
		s.repo.log.WarnContext(ctx, "measuring metadata failed", "error", err)
	}
	for _, ns := range list {
		found, err := s.repo.Sizes(ctx, ns)
		if err != nil {
			s.repo.log.WarnContext(ctx, "measuring metadata failed", "namespace", ns, "error", err)
		}
		for _, d := range found {
			to <- prometheus.MustNewConstMetric(s.bytes, prometheus.GaugeValue, float64(d.Bytes), string(ns), string(d.Role))
			to <- prometheus.MustNewConstMetric(s.limit, prometheus.GaugeValue, float64(d.Limit), string(ns), string(d.Role))
		}
	}
}
