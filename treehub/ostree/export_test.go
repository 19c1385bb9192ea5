package ostree

// CheckValue reports whether data is the normal form of a value of a type.
func CheckValue(sig string, data []byte) error {
	t, err := parseType(sig)
	if err != nil {
		return err
	}
	return t.check(data)
}

// RepackValue takes a value that passed CheckValue apart and encodes it anew,
// all the way down.
func RepackValue(sig string, data []byte) ([]byte, error) {
	t, err := parseType(sig)
	if err != nil {
		return nil, err
	}
	return t.repack(data)
}

func (t *gtype) repack(data []byte) ([]byte, error) {
	switch t.kind {
	case 'v':
		inner, value, err := openVariant(data)
		if err != nil {
			return nil, err
		}
		value, err = inner.repack(value)
		return packVariant(inner.sig, value), err
	case 'a':
		var parts [][]byte
		err := t.each(data, func(elem []byte) error {
			part, err := t.sub[0].repack(elem)
			parts = append(parts, part)
			return err
		})
		return t.pack(parts...), err
	case '(', '{':
		parts, err := t.fields(data, nil)
		for i := range parts {
			if err == nil {
				parts[i], err = t.sub[i].repack(parts[i])
			}
		}
		if err != nil {
			return nil, err
		}
		return t.pack(parts...), nil
	}
	return data, nil
}
