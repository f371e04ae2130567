package main

import (
	"context"
	"errors"
	"log"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/fairlead-edge/fairlead/daemon"
)

type serveCommand struct {
	Upstream     endpoints `name:"upstream" placeholder:"URL" env:"FAIRLEAD_UPSTREAM" help:"API to stand in front of; several are copies of it. More forms below. Not with --config."`
	Config       *given    `name:"config" placeholder:"FILE" env:"FAIRLEAD_CONFIG" help:"Configuration file; fairlead.yaml in the source explains it."`
	HTTP         *string   `name:"http" placeholder:"ADDR" env:"FAIRLEAD_HTTP" help:"Address for clients; default 127.0.0.1:8080. Port 0 picks a free one, an empty address is none."`
	HTTPS        *string   `name:"https" placeholder:"ADDR" env:"FAIRLEAD_HTTPS" help:"Address for clients with TLS, for HTTP/1.1, 2 and 3; default none."`
	Admin        *string   `name:"admin" placeholder:"ADDR" env:"FAIRLEAD_ADMIN" help:"Address for operators; default 127.0.0.1:9090."`
	Topics       bool      `name:"topics" env:"FAIRLEAD_TOPICS" help:"Serve /topics also in front of an upstream."`
	AdminToken   string    `name:"admin-token" hidden:"" env:"FAIRLEAD_ADMIN_TOKEN"`
	PublishToken string    `name:"publish-token" hidden:"" env:"FAIRLEAD_PUBLISH_TOKEN"`
}

// given is a value that may not be empty: an empty one is a variable of a
// script that is not set, and would start the demo in the place of what was
// meant.
type given string

// Decode reads the value.
func (g *given) Decode(ctx *kong.DecodeContext) error {
	var text string
	if err := ctx.Scan.PopValueInto("value", &text); err != nil {
		return err
	}
	if strings.TrimSpace(text) == "" {
		return errEmpty
	}
	*g = given(text)
	return nil
}

// endpoints are addresses, separated by commas, of which none may be empty.
type endpoints []string

// Decode reads one flag, or the variable.
func (e *endpoints) Decode(ctx *kong.DecodeContext) error {
	var text string
	if err := ctx.Scan.PopValueInto("address", &text); err != nil {
		return err
	}
	for one := range strings.SplitSeq(text, ",") {
		if one = strings.TrimSpace(one); one == "" {
			return errEmpty
		}
		*e = append(*e, one)
	}
	return nil
}

var errEmpty = errors.New("the value is empty; give it one, or leave the flag and its variable away")

// Help is shown by serve --help.
func (*serveCommand) Help() string {
	return `Without --upstream and --config a demo API is served. An upstream is an http://,
https://, h2c:// (HTTP/2 without TLS) or unix:/path address, or names where they
are written down: dns+http://NAME:PORT, srv+http://NAME, file:/PATH.

A line for each bound address is printed, then "ready". SIGTERM and SIGINT drain,
a second one exits at once; SIGHUP reads the configuration file again; SIGUSR2
starts the program on the disk anew, hands the listening sockets to it and drains.
Tokens are set by FAIRLEAD_ADMIN_TOKEN and FAIRLEAD_PUBLISH_TOKEN, or in the file.`
}

// Run serves until it has drained.
func (c *serveCommand) Run(ctx context.Context, t terminal) error {
	config := ""
	if c.Config != nil {
		config = string(*c.Config)
	}
	signals, stop := daemon.Signals()
	defer stop()
	ctx = context.WithoutCancel(ctx) // a signal drains, and does not cut off
	return daemon.Run(ctx, daemon.Options{
		Config: config, Upstreams: c.Upstream, Topics: c.Topics, HTTP: c.HTTP, HTTPS: c.HTTPS, Admin: c.Admin,
		AdminToken: c.AdminToken, PublishToken: c.PublishToken,
	}, daemon.Process{Stdout: t.out, Stderr: t.err, Standard: log.Default(), Signals: signals})
}
