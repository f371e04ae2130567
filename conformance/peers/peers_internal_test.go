package main

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-edge/fairlead/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

// twin serves the twin in front of the backends until the test ends.
func twin(t *testing.T, backends ...*backend) string {
	t.Helper()
	var addresses []string
	for _, b := range backends {
		addresses = append(addresses, b.address)
	}
	front, err := newBackend(t.Context(), newTwin(addresses), 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(front.close)
	return front.address
}

func TestTheRaceAccountsForEveryPost(t *testing.T) {
	accounts(t, race{idle: 5 * time.Millisecond, lanes: 4, waves: 10})
	accounts(t, race{idle: 5 * time.Millisecond, lanes: 4, waves: 10, apart: true})
}

func accounts(t *testing.T, r race) {
	t.Helper()
	book := &ledger{executed: make(map[string]int)}
	b, err := newBackend(t.Context(), book, r.idle)
	if err != nil {
		t.Fatal(err)
	}
	defer b.close()
	got := r.run(t.Context(), twin(t, b), book)
	if got.posts != 40 || got.twice != 0 {
		t.Errorf("%+v, want 40 posts and none twice", got)
	}
	if answered := got.posts - got.refused - got.broken; len(book.executed) != answered+got.executed {
		t.Errorf("%d executed; %d answered and %d failed but executed", len(book.executed), answered, got.executed)
	}
}

func TestAPostThatIsExecutedTwiceIsSeen(t *testing.T) {
	book := &ledger{executed: map[string]int{"/0/0": 1}}
	b, err := newBackend(t.Context(), book, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer b.close()
	if got := (race{lanes: 2, waves: 1}).run(t.Context(), b.address, book); got.twice != 1 {
		t.Errorf("%+v, want one twice", got)
	}
}

func TestALaneThatLostItsConnectionConnectsAgainAndSendsNothingTwice(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	served := make(chan struct{})
	go func() {
		defer close(served)
		for _, answer := range []string{"", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"} {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = c.Read(make([]byte, 1000))
			_, _ = c.Write([]byte(answer))
			c.Close()
		}
	}()
	l := &lane{address: listener.Addr().String()}
	defer l.close()
	if status, err := l.do(t.Context(), "POST", "/", time.Minute); err == nil {
		t.Errorf("a connection that was closed answered %d", status)
	}
	if status, err := l.do(t.Context(), "POST", "/", time.Minute); err != nil || status != 200 {
		t.Errorf("%d, %v", status, err)
	}
	<-served
}

func TestClientsCountWhatFailsWithTheirWholePatience(t *testing.T) {
	b, err := newBackend(t.Context(), &delayed{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	b.close()
	c := &clients{address: b.address, free: make(chan *lane, 3)}
	defer c.close()
	if got := c.send(t.Context(), 3); got.failed != 3 || quantile(got.millis, 0) != float64(slowPatience.Milliseconds()) {
		t.Errorf("%+v, want 3 failures of %v", got, slowPatience)
	}
}

func TestConfigurationsNameEveryBackend(t *testing.T) {
	proxies, err := all("fairlead")
	if err != nil {
		t.Fatal(err)
	}
	s := setup{Address: "127.0.0.1:80", Backends: []string{"127.0.0.1:81", "127.0.0.1:82"}, dir: t.TempDir()}
	for _, p := range proxies {
		path, err := p.configure(s)
		if err != nil {
			t.Fatal(err)
		}
		given := strings.Join(p.args(s, path), " ")
		if path != "" {
			text, err := os.ReadFile(filepath.Join(s.dir, p.config))
			if err != nil {
				t.Fatal(err)
			}
			given += string(text)
		}
		for _, address := range append(s.Backends, s.Address) {
			if !strings.Contains(given, address) {
				t.Errorf("%s is not told of %s:\n%s", p.name, address, given)
			}
		}
	}
}

func TestCPUTimeIsReadWhateverAProcessIsCalled(t *testing.T) {
	got, err := parseStat("7 (a (b) 1 2) S 3 7 7 0 -1 4194304 1 0 0 0 25 5 0 0 20 0 1 0 100 0 0\n")
	if want := (stat{pid: 7, parent: 3, cpu: 300 * time.Millisecond}); err != nil || got != want {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
	for _, wrong := range []string{"", "7 (a", "7 (a) S 3", "x (a) S 3 7 7 0 -1 4194304 1 0 0 0 25 5"} {
		if got, err := parseStat(wrong); err == nil {
			t.Errorf("%q is %+v", wrong, got)
		}
	}
}

func TestQuantilesAndTheirInterval(t *testing.T) {
	values := []float64{4, 1, 3, 2, 5}
	for q, want := range map[float64]float64{0: 1, 0.5: 3, 0.75: 4, 0.9: 4.6, 1: 5} {
		if got := quantile(values, q); got < want-1e-9 || got > want+1e-9 {
			t.Errorf("quantile %v is %v, want %v", q, got, want)
		}
	}
	if low, high := interval([]float64{7, 7, 7}); low != 7 || high != 7 {
		t.Errorf("the median of equal values lies in %v–%v", low, high)
	}
	if low, high := interval(values); low >= 3 || high <= 3 || low < 1 || high > 5 {
		t.Errorf("the interval is %v–%v", low, high)
	}
}

func TestWhatIsNotThereToMeasureIsAnError(t *testing.T) {
	for _, args := range [][]string{nil, {"fast"}, {"-speed", "cpu"}, {"-only", "apache", "cpu"}} {
		if err := run(t.Context(), args, t.Output()); err == nil {
			t.Errorf("%q runs", args)
		}
	}
}
