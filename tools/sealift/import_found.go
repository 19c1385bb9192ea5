package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"sealift/access"
)

// makeNamespace is all that a server which is to be filled by import has of a
// repository.
func (k *founding) makeNamespace(ctx context.Context) error {
	return k.v.Access.CreateNamespace(ctx, defaultNamespace)
}

// makeOperator writes the operator's file with a new token.
func (k *founding) makeOperator(ctx context.Context, ca []byte) error {
	text, token, err := k.v.Access.CreateToken(ctx, defaultNamespace, "operator (import)", []access.Scope{access.Admin}, 0)
	if err != nil {
		return err
	}
	k.out.tokenID, k.out.operator = token.ID, operator{Server: k.s.APIURL, Token: text, CA: string(ca)}
	if err := os.WriteFile(filepath.Join(k.o.Out, "server_ca.pem"), ca, 0o600); err != nil {
		return fmt.Errorf("writing server_ca.pem: %w", err)
	}
	return k.out.operator.write(filepath.Join(k.o.Out, "operator.json"))
}

// reportEmpty says what to do with a server that has no repository yet.
func (k *founding) reportEmpty(w io.Writer) {
	fmt.Fprintf(w, "A server without repositories, namespace %s: data in %s, the keys of its CAs in %s.\n", defaultNamespace, k.s.Data, k.o.Offline)
	fmt.Fprintf(w, "Next: sealift import DIR --data %s --offline %s\n", k.s.Data, k.o.Offline)
}
