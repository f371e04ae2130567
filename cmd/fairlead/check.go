package main

import (
	"fmt"

	"github.com/fairlead-edge/fairlead/daemon"
)

type checkCommand struct {
	File       string `arg:"" help:"Configuration file."`
	AdminToken string `name:"admin-token" hidden:"" env:"FAIRLEAD_ADMIN_TOKEN"`
}

// Run prints what the file configures, or returns what is wrong with it.
func (c *checkCommand) Run(t terminal) error {
	summary, err := daemon.Check(c.File, c.AdminToken)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(t.out, "%s: ok\n%s\n", c.File, summary)
	return err
}
