package acceptance_test

import (
	"testing"

	"sealift/uptane"
	"sealift/uptane/acceptance"
)

// A whole chain of 50 roots in both flavours, and the set under the last: what a
// server pays when it starts. Afterwards a push costs the set alone.
func BenchmarkChainOf50(b *testing.B) {
	by := all()
	var docs [2][][]byte
	var sets [2]acceptance.Set
	flavours := []uptane.Flavour{uptane.Uptane, uptane.TUF}
	for i, f := range flavours {
		for v := int64(1); v <= 50; v++ {
			docs[i] = append(docs[i], sign(b, f, uptane.RoleRoot, by.root(b, v), "root"))
		}
		sets[i] = publish(b, f, by, targetsOf(b, 1, "a", "b", "c"), 5, nil)
	}
	for b.Loop() {
		for i, f := range flavours {
			c, err := acceptance.Begin(f, image, docs[i][0])
			for _, doc := range docs[i][1:] {
				if err == nil {
					c, err = c.Extend(doc)
				}
			}
			must(b, err)
			must(b, c.Judge(sets[i], nil, today))
		}
	}
}

func BenchmarkSet(b *testing.B) {
	by := all()
	c := begin(b, uptane.Uptane, by)
	set := publish(b, uptane.Uptane, by, targetsOf(b, 1, "a", "b", "c"), 5, nil)
	for b.Loop() {
		must(b, c.Judge(set, &set, today))
	}
}

// What the Director's documents pass before they are stored.
func BenchmarkForm(b *testing.B) {
	doc := publish(b, uptane.Uptane, all(), targetsOf(b, 1, "a", "b", "c"), 5, nil).Targets
	for b.Loop() {
		must(b, acceptance.Form(uptane.Uptane, image, uptane.RoleTargets, doc))
	}
}
