package repo

import "sealift/uptane"

// Reread makes the next reading of a namespace's metadata ask the database.
// Devices may see another replica's push up to a second late; a build job that
// has just pushed must find what it pushed, whichever replica it meets.
func (r *Repo) Reread(ns uptane.Namespace) { r.forget(ns) }
