package repo_test

import (
	"crypto"
	"fmt"
	"maps"
	"testing"

	"sealift/internal/db"
	"sealift/internal/db/dbtest"
	"sealift/repo"
	"sealift/uptane"
)

// A supplier delegates to more and more roles: there comes an end to that, and
// neither the operator nor another supplier notices.
func TestASupplierTakesNoMoreThanItsShare(t *testing.T) {
	const share = 256
	w, s := newWorld(t, dbtest.SQLite(t))
	greedy, modest, child := w.supplier("greedy"), w.supplier("modest"), w.supplier("child")
	w.pull(s).delegate(greedy, false, "greedy/*").delegate(modest, false, "modest/*").mustPush(s)
	spread := func(from, n int) {
		greedy.payload.Delegations = nil
		for i := range n {
			child.role = uptane.Role(fmt.Sprint("g", from+i))
			delegate(t, &greedy.payload, child, false, "greedy/*")
		}
	}
	spread(0, share+1)
	wantFault(t, greedy.push(s), repo.ErrDelegatedTarget, "delegation g256: there are 256 roles below greedy already")
	spread(0, share)
	greedy.mustPush(s)

	// What nobody has read yet makes room for others; what snapshot lists does not.
	spread(share, share)
	greedy.mustPush(s)
	child.role = uptane.Role(fmt.Sprint("g", share))
	child.mustPush(s)
	spread(0, share)
	wantFault(t, greedy.push(s), repo.ErrDelegatedTarget, "there are 256 roles below greedy already")

	delegate(t, &modest.payload, w.supplier("below"), false, "modest/*")
	modest.add(w.named("modest/1")).mustPush(s)
	w.pull(s).delegate(w.supplier("another"), false, "another/*").mustPush(s)
	w.sees(s, map[string]bool{"modest/1": true})
}

// Suppliers who agree to use up all roles there can be leave a quarter to the operator.
func TestSuppliersTogetherLeaveRoom(t *testing.T) {
	const suppliers, share = 12, 256
	w, s := newWorld(t, dbtest.SQLite(t))
	top := w.pull(s)
	var greedy []*supplier
	for i := range suppliers + 1 {
		one := w.supplier(uptane.Role(fmt.Sprint("greedy", i)))
		top.delegate(one, false, fmt.Sprintf("greedy%d/*", i))
		greedy = append(greedy, one)
	}
	top.mustPush(s)
	child := w.supplier("child")
	for i, one := range greedy {
		for n := range share {
			child.role = uptane.Role(fmt.Sprintf("g%d-%d", i, n))
			delegate(t, &one.payload, child, false, fmt.Sprintf("greedy%d/*", i))
		}
		if i < suppliers {
			one.mustPush(s)
			continue
		}
		wantFault(t, one.push(s), repo.ErrDelegatedTarget, "delegation g12-0: there are 3072 roles below others already")
	}
	w.pull(s).delegate(w.supplier("another"), false, "another/*").mustPush(s)
}

// A supplier delegates to a name that the operator wants to use. The name is the
// operator's, the supplier's images stay, and later pushes are not held up by what
// the supplier still says.
func TestNoNameIsKeptFromTheOperator(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w, s := newWorld(t, d)
		brakes, squatter, radio := w.supplier("brakes"), w.supplier("radio"), w.supplier("radio")
		w.pull(s).delegate(brakes, false, "brakes/*").mustPush(s)
		delegate(t, &brakes.payload, squatter, false, "brakes/r/*")
		brakes.add(w.named("brakes/1")).mustPush(s)
		squatter.add(w.named("brakes/r/1")).mustPush(s)
		w.sees(s, map[string]bool{"brakes/1": true, "brakes/r/1": true})

		w.pull(s).delegate(radio, false, "radio/*").mustPush(s)
		wantFault(t, squatter.push(s), repo.ErrDelegationKeys)
		radio.payload.Version = 1 // clients have seen that one
		radio.add(w.named("radio/1")).mustPush(s)
		w.sees(s, map[string]bool{"brakes/1": true, "radio/1": true})
		wantFault(t, brakes.push(s), repo.ErrDelegatedTarget, "targets delegates to that name already")

		// Keys of the supplier come and go: what it signed is judged again, twice.
		stolen := brakes.key
		for _, brakes.key = range []crypto.Signer{newKey(t), stolen} {
			r := w.pull(s)
			block := *r.payload.Delegations
			r.payload.Delegations = nil
			r.delegate(brakes, false, "brakes/*")
			maps.Copy(r.payload.Delegations.Keys, block.Keys)
			r.payload.Delegations.Roles = append(r.payload.Delegations.Roles, block.Roles[1])
			r.mustPush(s)
		}
		w.sees(s, map[string]bool{"brakes/1": true, "radio/1": true})
	})
}
