package uptane

// Flip turns a bit over in one of the two copies of a held key.
func Flip(h *HeldKey, which, at int) { h.copies[which][at] ^= 4 }
