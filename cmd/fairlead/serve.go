package main

import (
	"context"

	"github.com/fairlead-edge/fairlead/daemon"
)

type serveCommand struct {
	Upstream     []string `name:"upstream" placeholder:"URL" env:"FAIRLEAD_UPSTREAM" help:"API to stand in front of; several are copies of it. Not with --config."`
	Config       string   `name:"config" placeholder:"FILE" env:"FAIRLEAD_CONFIG" help:"Configuration file; fairlead.yaml in the source explains it."`
	HTTP         *string  `name:"http" placeholder:"ADDR" env:"FAIRLEAD_HTTP" help:"Address for clients; default 127.0.0.1:8080. Port 0 picks a free one, an empty address is none."`
	Admin        *string  `name:"admin" placeholder:"ADDR" env:"FAIRLEAD_ADMIN" help:"Address for operators; default 127.0.0.1:9090."`
	Topics       bool     `name:"topics" env:"FAIRLEAD_TOPICS" help:"Serve /topics also in front of an upstream."`
	AdminToken   string   `name:"admin-token" hidden:"" env:"FAIRLEAD_ADMIN_TOKEN"`
	PublishToken string   `name:"publish-token" hidden:"" env:"FAIRLEAD_PUBLISH_TOKEN"`
}

// Help is shown by serve --help.
func (*serveCommand) Help() string {
	return `Without --upstream and --config a demo API is served. An upstream is an http://,
https://, h2c:// (HTTP/2 without TLS) or unix:/path address.

A line for each bound address is printed, then "ready". SIGTERM and SIGINT drain,
a second one exits at once; SIGHUP reads the configuration file again. Tokens are
set by FAIRLEAD_ADMIN_TOKEN and FAIRLEAD_PUBLISH_TOKEN, or in the file.`
}

// Run serves until it has drained.
func (c *serveCommand) Run(ctx context.Context, t terminal) error {
	signals, stop := daemon.Signals()
	defer stop()
	ctx = context.WithoutCancel(ctx) // a signal drains, and does not cut off
	return daemon.Run(ctx, daemon.Options{
		Config: c.Config, Upstreams: c.Upstream, Topics: c.Topics, HTTP: c.HTTP, Admin: c.Admin,
		AdminToken: c.AdminToken, PublishToken: c.PublishToken,
	}, daemon.Process{Stdout: t.out, Stderr: t.err, Signals: signals})
}
