package leak_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/fairlead-edge/fairlead/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

func TestAGoroutineThatEndsPasses(t *testing.T) {
	leak.Check(t)
	done := make(chan struct{})
	go close(done)
	<-done
}

func TestAGoroutineThatStaysFails(t *testing.T) {
	stop := make(chan struct{})
	spy := &spyTB{TB: t}
	leak.Check(spy)

	joined := make(chan struct{})
	go func() {
		defer close(joined)
		<-stop
	}()
	spy.cleanup()
	close(stop)
	<-joined

	if !strings.Contains(spy.report, "TestAGoroutineThatStaysFails") {
		t.Errorf("report %q does not name where the goroutine was started", spy.report)
	}
}

// spyTB stands in for a test that is about to fail.
type spyTB struct {
	testing.TB

	cleanup func()
	report  string
}

func (s *spyTB) Cleanup(f func())  { s.cleanup = f }
func (s *spyTB) Error(args ...any) { s.report = fmt.Sprint(args...) }
