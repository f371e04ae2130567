package fairlead_test

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"slices"
	"strconv"
	"testing"

	"github.com/fairlead-edge/fairlead"
)

// declaredCodes returns the values of the constants of type Code, as the source
// declares them.
func declaredCodes(t *testing.T) []fairlead.Code {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "code.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var codes []fairlead.Code
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if of, ok := spec.Type.(*ast.Ident); ok && of.Name == "Code" {
			value, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			codes = append(codes, fairlead.Code(value))
		}
		return true
	})
	return codes
}

func TestEveryCodeHasItsRow(t *testing.T) {
	t.Parallel()
	declared, rows := declaredCodes(t), fairlead.Codes()
	slices.Sort(declared)
	slices.Sort(rows)
	if len(rows) == 0 || !slices.Equal(declared, rows) {
		t.Errorf("declared are %q, rows are for %q", declared, rows)
	}
	titles := map[string]fairlead.Code{}
	for _, c := range rows {
		if http.StatusText(c.HTTPStatus()) == "" || c.HTTPStatus() < 400 {
			t.Errorf("%s has status %d", c, c.HTTPStatus())
		}
		// RFC 6455 §7.4: those that an endpoint may send.
		if n := c.CloseCode(); !slices.Contains([]int{1001, 1002, 1003, 1007, 1008, 1009, 1011, 1012, 1013, 1014}, n) && (n < 4000 || n > 4999) {
			t.Errorf("%s has close code %d", c, n)
		}
		if n := c.GRPC(); n < 1 || n > 16 {
			t.Errorf("%s has gRPC code %d", c, n)
		}
		if other, taken := titles[c.Title()]; taken || c.Title() == "" {
			t.Errorf("%s has the title %q, as has %q", c, c.Title(), other)
		}
		titles[c.Title()] = c
	}
}

func TestAnUnknownCodeIsAnInternalError(t *testing.T) {
	t.Parallel()
	c := fairlead.Code("no such code")
	if c.HTTPStatus() != 500 || c.CloseCode() != 1011 || c.GRPC() != 13 || c.Title() != fairlead.Internal.Title() {
		t.Errorf("%d, %d, %d, %q", c.HTTPStatus(), c.CloseCode(), c.GRPC(), c.Title())
	}
}

func TestAnErrorIsFoundInItsChainAndOthersAreNotRepeated(t *testing.T) {
	t.Parallel()
	e := fairlead.Errorf(fairlead.TooLarge, "the limit is %d", 5)
	if got := fairlead.AsError(fmt.Errorf("deliver: publish: %w", e)); got != e || got.Error() != "too_large: the limit is 5" {
		t.Errorf("got %v", got)
	}
	if got := fairlead.AsError(errors.New("password is 1234")); got.Code != fairlead.Internal || got.Message == "password is 1234" {
		t.Errorf("got %v", got)
	}
}

// Clients choose a code by a status or close code that came without one: what
// several codes share must be known to client.codeOf.
func TestOnlyKnownStatusesAndCloseCodesAreShared(t *testing.T) {
	t.Parallel()
	statuses, closes := map[int]int{}, map[int]int{}
	for _, c := range fairlead.Codes() {
		statuses[c.HTTPStatus()]++
		closes[c.CloseCode()]++
	}
	for status, n := range statuses {
		if n > 1 && status != 409 && status != 502 && status != 503 {
			t.Errorf("%d codes have the status %d", n, status)
		}
	}
	for code, n := range closes {
		if n > 1 && code >= 4000 && code != fairlead.Fault.CloseCode() {
			t.Errorf("%d codes have the close code %d", n, code)
		}
	}
}
