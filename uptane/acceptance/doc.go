// Package acceptance is the gate in front of everything that devices fetch:
// three judges read a complete set of metadata as clients will, before anybody
// else sees it.
//
// The judges are a strict Uptane client that verifies fully, a model of
// aktualizr's parser with its limits, and go-tuf's own client for the TUF flavour.
// The first and the second judge what is written in the Uptane flavour, the first
// and the third what is written in the TUF flavour.
//
// A device may have stopped at any root. Whether it can follow depends, for each
// step, on two neighbouring roots alone, and those never change: so a [Chain]
// judges each link once and keeps the verdict, which covers every version that a
// device may be at, for the price of one walk.
//
// A refusal is a fault, [ErrRefused], that tells the caller the judge, the rule
// and the role. The package knows no database, no key that signs and no clock.
package acceptance
