package ostree

import "encoding/binary"

// pack encodes an array, a tuple or a dictionary entry from the bytes of its
// elements or members.
func (t *gtype) pack(parts ...[]byte) []byte {
	var out []byte
	var ends []int
	for i, part := range parts {
		m := t.sub[0]
		if t.kind != 'a' {
			m = t.sub[i]
		}
		out = append(pad(out, m.align), part...)
		if m.size == 0 && (t.kind == 'a' || i < len(parts)-1) {
			ends = append(ends, len(out))
		}
	}
	if t.size > 0 {
		return append(out, make([]byte, t.size-len(out))...)
	}
	width := packedWidth(len(out), len(ends))
	for i := range ends {
		end := ends[i]
		if t.kind != 'a' { // a tuple's offsets are stored last first
			end = ends[len(ends)-1-i]
		}
		var le [8]byte
		binary.LittleEndian.PutUint64(le[:], uint64(end))
		out = append(out, le[:width]...)
	}
	return out
}

func pad(out []byte, align int) []byte {
	return append(out, make([]byte, aligned(len(out), align)-len(out))...)
}

// packText encodes a string.
func packText(s string) []byte { return append([]byte(s), 0) }

// packVariant encodes a value together with its type.
func packVariant(sig string, value []byte) []byte {
	out := make([]byte, 0, len(value)+1+len(sig))
	return append(append(append(out, value...), 0), sig...)
}

// packBE encodes one of the numbers OSTree stores in big-endian order.
func packBE(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }
