// Command drill plays faults against a running Fairlead and asks package diagnose,
// which sees only the admin listener, to name them. For each fault the program is
// started with its real upstreams and readers; while all is well nothing may be named,
// and once the fault has come its name must come first.
//
// With the argument "name" it is a tool for operators: it looks at a running Fairlead
// twice and names what it finds in between.
//
//	drill [-fairlead bin/fairlead] [fault...]
//	drill name [-window 10s] [-token TOKEN] http://127.0.0.1:9090
package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/fairlead-edge/fairlead/conformance/drill/diagnose"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	run := play
	args := os.Args[1:]
	if len(args) > 0 && args[0] == "name" {
		run, args = name, args[1:]
	}
	if err := run(ctx, args, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "drill:", err)
		stop()
		os.Exit(1) //nolint:gocritic // stop has been called
	}
}

// name looks at a running Fairlead for a while.
func name(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("name", flag.ExitOnError)
	window := flags.Duration("window", 10*time.Second, "between the two looks")
	token := flags.String("token", os.Getenv("FAIRLEAD_ADMIN_TOKEN"), "the admin_token")
	_ = flags.Parse(args) // it exits
	admin := &diagnose.Admin{URL: cmp.Or(flags.Arg(0), "http://127.0.0.1:9090"), Token: *token}
	before, err := admin.Snapshot(ctx)
	if err != nil {
		return err
	}
	if err := pause(ctx, *window); err != nil {
		return err
	}
	after, err := admin.Snapshot(ctx)
	if err != nil {
		return err
	}
	found := diagnose.Compare(before, after)
	for _, f := range found {
		fmt.Fprintln(out, f)
	}
	if len(found) == 0 {
		fmt.Fprintln(out, "nothing")
	}
	return nil
}

// play plays the faults named, or all, and prints a table.
func play(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("drill", flag.ExitOnError)
	program := flags.String("fairlead", "bin/fairlead", "Fairlead's program")
	_ = flags.Parse(args) // it exits
	var known []string
	for _, f := range faults {
		known = append(known, f.name)
	}
	for _, name := range flags.Args() {
		if !slices.Contains(known, name) {
			return fmt.Errorf("there is no fault %q; there are %s", name, strings.Join(slices.Compact(known), ", "))
		}
	}
	fmt.Fprintf(out, "| fault | named first | evidence | also named | after |\n| --- | --- | --- | --- | --- |\n")
	wrong := 0
	for _, f := range faults {
		if flags.NArg() > 0 && !slices.Contains(flags.Args(), f.name) {
			continue
		}
		r, err := try(ctx, *program, f)
		if err != nil {
			fmt.Fprintf(os.Stderr, "drill: %s: %v\n", f.title(), err)
			wrong++
			continue
		}
		var also []string
		first := diagnose.Finding{Fault: "nothing"}
		for i, one := range r.found {
			if i == 0 {
				first = one
			} else {
				also = append(also, one.Fault)
			}
		}
		fmt.Fprintf(out, "| %s | %s | %s | %s | %.1f s |\n", f.title(), first.Fault, first.Evidence, strings.Join(also, ", "), r.took.Seconds())
	}
	if wrong > 0 {
		return fmt.Errorf("%d were not named as they should be", wrong)
	}
	return nil
}
