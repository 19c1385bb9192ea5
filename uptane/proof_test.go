package uptane_test

import (
	"context"
	"errors"
	"testing"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sealift/uptane"
)

// liar hands out signatures that were good once, changed by lie.
type liar struct {
	desk
	lie func(sig *uptane.RawSig)
}

func (l liar) Sign(ctx context.Context, j uptane.Job, msg []byte) ([]uptane.RawSig, error) {
	sigs, err := l.desk.Sign(ctx, j, msg)
	if err == nil {
		l.lie(&sigs[0])
	}
	return sigs, err
}

// A signature that was verified when it was made is believed for what it was made
// for and for nothing else.
func TestSealDistrustsWhatWasChanged(t *testing.T) {
	d, targets := desk{uptane.RoleTargets: {ed("targets")}}, metadata.Targets(nextDay).Signed
	targets.Version = 1
	other, err := uptane.NewKey(ed("other").Public())
	if err != nil {
		t.Fatal(err)
	}
	ofAnother, err := uptane.Sign(ed("targets"), []byte("another message"))
	if err != nil {
		t.Fatal(err)
	}
	for name, lie := range map[string]func(*uptane.RawSig){
		"a flipped bit":            func(s *uptane.RawSig) { s.Sig[3] ^= 1 },
		"another key":              func(s *uptane.RawSig) { s.Key = other },
		"that of another message":  func(s *uptane.RawSig) { *s = ofAnother },
		"its bytes, proof of ours": func(s *uptane.RawSig) { s.Sig = ofAnother.Sig },
	} {
		if _, err := uptane.Seal(t.Context(), uptane.Uptane, liar{d, lie}, job(uptane.RoleTargets), &targets); !errors.Is(err, uptane.ErrSignature) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := uptane.Seal(t.Context(), uptane.Uptane, liar{d, func(*uptane.RawSig) {}}, job(uptane.RoleTargets), &targets); err != nil {
		t.Error(err)
	}
}
