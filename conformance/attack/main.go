// Command attack sends to Fairlead's program, at its defaults, what hostile
// clients send, one kind after the other, and prints how much memory that makes
// it hold and what it costs the others. The attackers have an address of their
// own, in a network namespace, for on loopback none is bounded.
package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// each is how long an attack goes on, longer than the server's timeouts for
	// headers, so that its answer to them is part of it.
	each = 12 * time.Second
	// rate is how many requests a second the other clients make.
	rate = 200
	// bar is what the program may hold, in bytes.
	bar = 256 << 20
	// token lets clients publish; the attackers have it too.
	token = "attack"
)

func main() {
	if len(os.Args) == 4 && os.Args[1] == "make" {
		strike(os.Args[2], os.Args[3])
		return
	}
	program := flag.String("fairlead", "bin/fairlead", "Fairlead's program")
	only := flag.String("only", "", "the attacks to make, separated by commas; default all")
	host := flag.String("host", "127.0.0.1", "the address that is attacked")
	flag.Parse()
	at := site{program: *program, host: *host, attackers: flag.Args()}
	if err := run(context.Background(), at, *only, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "attack:", err)
		os.Exit(1)
	}
}

// site is what is attacked, and from where.
type site struct {
	program   string
	host      string   // where the attackers find it
	attackers []string // the command that runs them: in a namespace, as what comes last
}

func run(ctx context.Context, at site, only string, out io.Writer) error {
	fmt.Fprintf(out, "| attack | connections or requests made | memory after it, peak | p50 of others | p99 of others | against no attack |\n| --- | --- | --- | --- | --- | --- |\n")
	over := false
	for _, a := range attacks {
		if only != "" && !slices.Contains(strings.Split(only, ","), a.name) {
			continue
		}
		r, err := try(ctx, at, a)
		if err != nil {
			return fmt.Errorf("%s: %w", a.name, err)
		}
		fmt.Fprintf(out, "| %s | %d | %d MiB | %v | %v | %.1f× |\n", a.name, r.made, r.peak>>20,
			r.during.at(0.5), r.during.at(0.99), float64(r.during.at(0.99))/float64(r.before.at(0.99)))
		over = over || r.peak > bar
	}
	if over {
		return fmt.Errorf("the program held more than %d MiB", bar>>20)
	}
	return nil
}

// attack makes connections or requests until ctx ends, and counts them.
type attack struct {
	name string
	make func(ctx context.Context, t target, made *atomic.Int64)
}

// target is the program under attack.
type target struct {
	http, https string // host:port
	pid         int
}

type result struct {
	made           int64
	peak           int64 // bytes
	before, during latencies
}

// try starts the program anew, so that one attack's memory is not another's.
func try(ctx context.Context, at site, a attack) (*result, error) {
	t, stop, err := serve(ctx, at.program)
	if err != nil {
		return nil, err
	}
	defer stop()
	r := new(result)
	if r.before, err = load(ctx, t, each/2); err != nil {
		return nil, err
	}
	var attackers sync.WaitGroup
	var failure error
	attackers.Go(func() { r.made, failure = a.strike(ctx, at, t) })
	r.during, err = load(ctx, t, each)
	attackers.Wait()
	if err != nil {
		return nil, fmt.Errorf("another client: %w", err)
	}
	if failure != nil {
		return nil, failure
	}
	r.peak, err = peak(t.pid)
	return r, err
}

// strike makes the attack from a process of its own, which takes only the CPU
// that the server and the other clients leave: attackers have machines of their
// own.
func (a attack) strike(ctx context.Context, at site, t target) (made int64, err error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	_, http, _ := net.SplitHostPort(t.http)
	_, https, _ := net.SplitHostPort(t.https)
	args := append(slices.Clone(at.attackers), self, "make", a.name, net.JoinHostPort(at.host, http)+","+net.JoinHostPort(at.host, https))
	cmd := exec.CommandContext(ctx, args[0], args[1:]...) //nolint:gosec // this program
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(string(out)), 10, 64)
}

// strike is that process.
func strike(name, addresses string) {
	_ = syscall.Setpriority(syscall.PRIO_PROCESS, 0, 19) // lower is always allowed
	var t target
	t.http, t.https, _ = strings.Cut(addresses, ",")
	ctx, cancel := context.WithTimeout(context.Background(), each)
	defer cancel()
	var made atomic.Int64
	for _, a := range attacks {
		if a.name == name {
			a.make(ctx, t, &made)
		}
	}
	fmt.Fprintln(os.Stdout, made.Load())
}

// serve starts the program on free ports; its certificate is made in a folder
// that goes with it.
func serve(ctx context.Context, program string) (target, func(), error) {
	folder, err := os.MkdirTemp("", "attack-")
	if err != nil {
		return target{}, nil, err
	}
	cmd := exec.CommandContext(ctx, program, "serve", "--http", ":0", "--https", ":0", "--admin", "")
	cmd.Env = append(os.Environ(), "XDG_CONFIG_HOME="+folder, "FAIRLEAD_PUBLISH_TOKEN="+token)
	stdout, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return target{}, nil, err
	}
	stop := func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait() // how it ends is not what is measured
		_ = os.RemoveAll(folder)
	}
	t := target{pid: cmd.Process.Pid}
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		name, url, _ := strings.Cut(lines.Text(), " ")
		_, address, _ := strings.Cut(url, "://")
		if _, port, err := net.SplitHostPort(address); err == nil {
			address = net.JoinHostPort("127.0.0.1", port)
		}
		switch name {
		case "http":
			t.http = address
		case "https":
			t.https = address
		case "ready":
			return t, stop, publish(ctx, t)
		}
	}
	stop()
	return target{}, nil, fmt.Errorf("%s did not start", program)
}

// peak returns the most memory that the process has held (proc(5), VmHWM).
func peak(pid int) (int64, error) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return 0, err
	}
	_, after, _ := strings.Cut(string(text), "VmHWM:")
	number, _, _ := strings.Cut(strings.TrimSpace(after), " ")
	n, err := strconv.ParseInt(number, 10, 64)
	return n << 10, err
}

type latencies []time.Duration

// at returns a percentile, in steps that a reader can compare.
func (l latencies) at(share float64) time.Duration {
	return l[int(share*float64(len(l)-1))].Round(10 * time.Microsecond)
}

// load is the other clients: a steady rate of small requests, every tenth on a
// connection of its own. A latency counts from when the request was due.
func load(ctx context.Context, t target, span time.Duration) (latencies, error) {
	kept := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}, Timeout: 10 * time.Second}
	fresh := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	defer kept.CloseIdleConnections()
	var (
		mu      sync.Mutex
		all     latencies
		failure error
		running sync.WaitGroup
	)
	begin := time.Now()
	for i := range int(span.Seconds() * rate) {
		due := begin.Add(time.Duration(i) * time.Second / rate)
		time.Sleep(time.Until(due))
		c := kept
		if i%10 == 0 {
			c = fresh
		}
		running.Go(func() {
			err := get(ctx, c, "http://"+t.http+"/topics/calm?after=earliest")
			took := time.Since(due)
			mu.Lock()
			defer mu.Unlock()
			all = append(all, took)
			if err != nil {
				failure = err
			}
		})
	}
	running.Wait()
	slices.Sort(all)
	return all, failure
}

func publish(ctx context.Context, t target) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+t.http+"/topics/calm", strings.NewReader("calm"))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	return res.Body.Close()
}

func get(ctx context.Context, c *http.Client, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "application/json")
	res, err := c.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, res.Status)
	}
	return nil
}
