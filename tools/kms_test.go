package tools_test

import (
	"github.com/rogpeppe/go-internal/testscript"

	"sealift/fixtures/keyservice"
)

// keyServiceKey is the key under which a script keeps its key service.
type keyServiceKey struct{}

// runningKeys is the key service of a script, from its first command on.
type runningKeys struct{ *keyservice.Service }

// keyService is the script's own AWS KMS, where programs that it runs look for keys:
//
//	keyservice make SPEC NAME...     people make keys and name them alias/NAME
//	keyservice be MOOD               well, down, slow, busy or refusing
//	keyservice disable NAME, keyservice enable NAME
func keyService(ts *testscript.TestScript, neg bool, args []string) {
	s := ts.Value(keyServiceKey{}).(*runningKeys)
	if s.Service == nil {
		s.Service = keyservice.New()
		ts.Defer(s.Close)
		for name, value := range s.Environment() {
			if ts.Getenv(name) == "" { // one account for this and for a bucket
				ts.Setenv(name, value)
			}
		}
	}
	if neg || len(args) < 2 {
		ts.Fatalf("usage: keyservice make SPEC NAME... | be MOOD | disable NAME | enable NAME")
	}
	switch args[0] {
	case "make":
		for _, name := range args[2:] {
			_, err := s.Make("alias/"+name, args[1])
			ts.Check(err)
		}
	case "be":
		mood := keyservice.Mood(args[1])
		if mood == "well" {
			mood = keyservice.Well
		}
		s.Be(mood)
	case "disable", "enable":
		ts.Check(s.Disable("alias/"+args[1], args[0] == "disable"))
	default:
		ts.Fatalf("keyservice knows no %s", args[0])
	}
}
