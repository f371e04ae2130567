//go:build unix

package upstream_test

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/fairlead-edge/fairlead/upstream"
)

func TestANamedPipeIsRefusedAndDoesNotHang(t *testing.T) {
	name := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(name, 0o600); err != nil {
		t.Fatal(err)
	}
	_, r, err := upstream.ParseSource("file:" + name)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.Resolve(t.Context()); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("error %v for a pipe", err)
	}
}
