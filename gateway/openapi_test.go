package gateway_test

import (
	"testing"

	"sealift/gateway"
	"sealift/internal/web"
)

func TestDocumentedAsRouted(t *testing.T) {
	routes, err := gateway.Routes()
	if err != nil {
		t.Fatal(err)
	}
	for _, diff := range web.CompareOpenAPI(gateway.OpenAPI(), routes) {
		t.Error(diff)
	}
}
