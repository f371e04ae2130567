//go:build linux

package main

import (
	"bytes"
	"context"
	"embed"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/template"
	"time"
)

//go:embed testdata/*.conf
var configurations embed.FS

// setup is what a rival's configuration is made of.
type setup struct {
	Dir, Address, PublishPort string
}

// configure makes a rival's folder with its configuration in it.
func configure(ctx context.Context, name string) (s setup, file string, err error) {
	all, err := freeAddresses(ctx, 2)
	if err != nil {
		return s, "", err
	}
	_, port, err := net.SplitHostPort(all[1])
	if err != nil {
		return s, "", err
	}
	if s.Dir, err = os.MkdirTemp("", "fan-"); err != nil {
		return s, "", err
	}
	s.Address, s.PublishPort = all[0], port
	var text bytes.Buffer
	made, err := template.ParseFS(configurations, "testdata/"+name)
	if err == nil {
		err = made.Execute(&text, s)
	}
	file = filepath.Join(s.Dir, name)
	if err == nil {
		err = os.WriteFile(file, text.Bytes(), 0o600)
	}
	if err != nil {
		_ = os.RemoveAll(s.Dir)
	}
	return s, file, err
}

// startNchan runs nginx with nchan.
func startNchan(ctx context.Context, size int) (*target, error) {
	s, file, err := configure(ctx, "nchan.conf")
	if err != nil {
		return nil, err
	}
	t := &target{name: "nchan", address: s.Address, path: "/subscribe"}
	if t.child, err = spawn(t.name, s.Dir, "nginx", "-e", "stderr", "-p", s.Dir, "-c", file); err != nil {
		_ = os.RemoveAll(s.Dir)
		return nil, err
	}
	return t, t.meet(ctx, s.Address, "/publish", "text/plain", textBody(size))
}

// startPushpin runs Pushpin, which asks the backend what a request subscribes
// to.
func startPushpin(ctx context.Context, size int, backend string) (*target, error) {
	s, file, err := configure(ctx, "pushpin.conf")
	if err != nil {
		return nil, err
	}
	t := &target{name: "Pushpin", address: s.Address, path: "/subscribe"}
	err = os.WriteFile(filepath.Join(s.Dir, "routes"), []byte("* "+backend+"\n"), 0o600)
	if err == nil {
		t.child, err = spawn(t.name, s.Dir, "pushpin", "--merge-output", "--config="+file)
	}
	if err != nil {
		_ = os.RemoveAll(s.Dir)
		return nil, err
	}
	return t, t.meet(ctx, "127.0.0.1:"+s.PublishPort, "/publish/", "application/json", gripBody(size))
}

// meet waits until the target serves, connects to publish, and finds out which
// its processes are.
func (t *target) meet(ctx context.Context, address, path, contentType string, body func(time.Time, int) []byte) error {
	err := t.child.awaitListening(ctx, t.address)
	if err == nil {
		err = t.child.awaitListening(ctx, address)
	}
	t.one = newPublisher(address, path, contentType, body)
	if err == nil {
		time.Sleep(time.Second) // workers that are still being started
		t.pids, err = family(t.child.cmd.Process.Pid)
	}
	if err != nil {
		t.stop()
	}
	return err
}

// gripBody is what Pushpin's publishing endpoint takes.
func gripBody(size int) func(time.Time, int) []byte {
	type object = map[string]any
	return func(due time.Time, _ int) []byte {
		stream := object{"http-stream": object{"content": "data: " + string(dataOf(due, size)) + "\n\n"}}
		body, err := json.Marshal(object{"items": []object{{"channel": "fan", "formats": stream}}})
		if err != nil {
			panic(err) // strings can be marshalled
		}
		return body
	}
}

// hold tells Pushpin to keep a request as a stream of the channel.
func hold(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Grip-Hold", "stream")
	w.Header().Set("Grip-Channel", "fan")
	w.WriteHeader(200)
}

// family returns a process and all that descend from it.
func family(pid int) ([]int, error) {
	paths, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	parents := make(map[int]int)
	for _, path := range paths {
		text, err := os.ReadFile(path) //nolint:gosec // of /proc
		if err != nil {
			continue // ended in between
		}
		fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:])) // a name may contain anything (proc(5))
		id, err := strconv.Atoi(strings.Split(path, "/")[2])
		if err != nil || len(fields) < 2 {
			return nil, fmt.Errorf("family: %s is not as expected", path)
		}
		if parents[id], err = strconv.Atoi(fields[1]); err != nil {
			return nil, fmt.Errorf("family: %s: %w", path, err)
		}
	}
	all := []int{pid}
	for i := 0; i < len(all); i++ {
		for id, parent := range parents {
			if parent == all[i] && !slices.Contains(all, id) {
				all = append(all, id)
			}
		}
	}
	return all, nil
}

// measureRivals takes the CPU of a delivery and the memory of an idle
// subscriber of nchan, Pushpin and Fairlead, who take turns.
func measureRivals(ctx context.Context, s settings, out io.Writer) error {
	if s.subscribers == 0 {
		s.subscribers = 1_000
	}
	s.kind = kindSSE
	a, server, floor, err := newArena(ctx, s)
	if err != nil {
		return err
	}
	defer a.close()
	backend := httptest.NewServer(http.HandlerFunc(hold))
	defer backend.Close()
	nchan, err := startNchan(ctx, s.dataSize())
	if err != nil {
		return err
	}
	a.targets = append(a.targets, nchan)
	pushpin, err := startPushpin(ctx, s.dataSize(), strings.TrimPrefix(backend.URL, "http://"))
	if err != nil {
		return err
	}
	a.targets = append(a.targets, pushpin)
	idle, err := a.idleMemory(ctx, floor)
	if err != nil {
		return err
	}
	sizes := make(map[*target]int)
	for _, t := range a.targets {
		if sizes[t], err = a.frameSize(ctx, t, 1); err != nil {
			return err
		}
	}
	if err := floor.frames(sizes[server], 1, 1); err != nil {
		return err
	}
	sizes[floor] = sizes[server]
	costs, err := a.roundRobin(ctx, 10)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "\nA delivery to %d SSE subscribers, one publication at a time; %d turns of each. Memory is what the processes have\n", s.subscribers, s.rounds)
	fmt.Fprint(out, "resident, of Fairlead after a collection; of the floor it was not taken.\n\n")
	fmt.Fprint(out, "| | B on the wire | CPU, µs, median | ratio to the floor, median | all | memory of an idle subscriber, bytes |\n| --- | ---: | ---: | ---: | --- | ---: |\n")
	for _, t := range []*target{floor, server, nchan, pushpin} {
		var d duel
		for i := range costs[t] {
			d.add(costs[floor][i], costs[t][i])
		}
		memory := "–"
		if t != floor {
			memory = strconv.FormatInt(idle[t], 10)
		}
		fmt.Fprintf(out, "| %s | %d | %.2f | **%.2f** | %.2f–%.2f | %s |\n", t.name, sizes[t], median(costs[t]), median(d.ratios), slices.Min(d.ratios), slices.Max(d.ratios), memory)
	}
	return nil
}

// idleMemory connects the subscribers and returns what each holds, but for the
// floor's.
func (a *arena) idleMemory(ctx context.Context, floor *target) (map[*target]int64, error) {
	each := make(map[*target]int64)
	for _, t := range a.targets {
		if t == floor {
			if err := a.connect(t, a.settings.subscribers, order{}); err != nil {
				return nil, err
			}
			continue
		}
		before, err := resident(ctx, t)
		if err != nil {
			return nil, err
		}
		if err := a.connect(t, a.settings.subscribers, order{}); err != nil {
			return nil, fmt.Errorf("%s: %w", t.name, err)
		}
		after, err := resident(ctx, t)
		if err != nil {
			return nil, err
		}
		each[t] = (after - before) / int64(a.settings.subscribers)
	}
	return each, nil
}

// resident is the memory of a target that has nothing to do.
func resident(ctx context.Context, t *target) (int64, error) {
	if t.name == "fairlead" {
		r, _, err := settled(ctx, t)
		return r.RSS, err
	}
	select {
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	case <-time.After(2 * time.Second):
	}
	return rss(t.pids)
}

// roundRobin lets all targets take turns, each time another one first, and
// returns what a delivery cost in each, in µs.
func (a *arena) roundRobin(ctx context.Context, publications int) (map[*target][]float64, error) {
	costs := make(map[*target][]float64)
	for round := range a.settings.rounds + 1 {
		for i := range a.targets {
			t := a.targets[(round+i)%len(a.targets)]
			cost, err := a.turn(ctx, t, publications, 1)
			if err != nil {
				return nil, err
			}
			if round > 0 { // the first warms up
				costs[t] = append(costs[t], cost)
			}
		}
	}
	return costs, nil
}
