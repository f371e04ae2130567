// Command fairlead puts Fairlead in front of an API, and talks to one.
//
//	fairlead serve   [--upstream URL]... [--config FILE] [--http ADDR] [--admin ADDR] [--topics]
//	fairlead check   FILE
//	fairlead pub     URL [DATA]
//	fairlead sub     URL
//	fairlead version
//
// It exits with 0 when all went well, which for serve is a drain, with 1 on an
// error, and with 2 on wrong usage, a bad value of a flag included. Each command
// has a --help that says more.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/fairlead-edge/fairlead/daemon"
)

// commands are the subcommands; each is a file of its own.
type commands struct {
	Serve   serveCommand   `cmd:"" help:"Serve topics, and put Fairlead in front of an API."`
	Check   checkCommand   `cmd:"" help:"Read a configuration file and tell every error in it."`
	Pub     pubCommand     `cmd:"" help:"Publish to a topic."`
	Sub     subCommand     `cmd:"" help:"Read a topic or any event stream, and come back after a drop."`
	Version versionCommand `cmd:"" help:"Print the version."`
}

// terminal is where a command reads and writes.
type terminal struct {
	in       io.Reader
	out, err io.Writer
}

func main() {
	os.Exit(runInterruptible(os.Args[1:], terminal{os.Stdin, os.Stdout, os.Stderr}))
}

// runInterruptible runs the command line on a context that ends with SIGINT or
// SIGTERM.
func runInterruptible(args []string, t terminal) (status int) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	return run(ctx, args, t)
}

// Exit statuses.
const (
	exitOK    = 0
	exitError = 1
	exitUsage = 2
)

// helped unwinds the parser after it has printed a help text.
type helped struct{}

// run runs the command line and returns the exit status.
func run(ctx context.Context, args []string, t terminal) (status int) {
	defer func() {
		if p := recover(); p != nil {
			if _, ok := p.(helped); !ok {
				panic(p)
			}
			status = exitOK
		}
	}()
	parser, err := kong.New(&commands{},
		kong.Name("fairlead"),
		kong.Description("Put Fairlead in front of an API: clients can drop, refresh and switch transport without losing an event."),
		kong.Writers(t.out, t.err),
		kong.Exit(func(int) { panic(helped{}) }),
		kong.UsageOnError(),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(t),
	)
	if err != nil {
		panic(err) // the struct above is wrong
	}
	k, err := parser.Parse(args)
	if err != nil {
		fmt.Fprintf(t.err, "fairlead: %s\nTry: fairlead --help\n", err)
		return exitUsage
	}
	if err := k.Run(); err != nil {
		return explain(t.err, err)
	}
	return exitOK
}

// explain prints an error and returns its exit status. The lines of a
// configuration's problems stand as they are, for editors that jump to them.
func explain(w io.Writer, err error) int {
	if problems, ok := errors.AsType[daemon.ConfigErrors](err); ok {
		fmt.Fprintln(w, problems)
	} else {
		fmt.Fprintf(w, "fairlead: %s\n", err)
	}
	if errors.Is(err, daemon.ErrUsage) {
		return exitUsage
	}
	return exitError
}
