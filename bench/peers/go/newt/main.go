// Command newt is the gateway that newt runs, without newt's control plane: wireguard-go over
// netstack2, TCP, UDP and pings forwarded to the targets of one rule.
//
// The configuration is wireguard-go's own (the UAPI's text) on standard input.
package main

import (
	"flag"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/signal"
	"syscall"

	"github.com/fosrl/newt/logger"
	"github.com/fosrl/newt/netstack2"
	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
)

func main() {
	address := flag.String("address", "", "the gateway's address in the tunnel")
	sources := flag.String("sources", "", "prefix of the peers")
	targets := flag.String("targets", "", "prefix that they may reach")
	mtu := flag.Int("mtu", 1420, "largest packet in the tunnel")
	flag.Parse()
	if err := run(*address, *sources, *targets, *mtu); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(address, sources, targets string, mtu int) error {
	local, err := netip.ParseAddr(address)
	if err != nil {
		return err
	}
	source, err := netip.ParsePrefix(sources)
	if err != nil {
		return err
	}
	target, err := netip.ParsePrefix(targets)
	if err != nil {
		return err
	}
	config, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	// It would log several lines a connection.
	logger.GetLogger().SetLevel(logger.ERROR)
	tun, network, err := netstack2.CreateNetTUNWithOptions(
		[]netip.Addr{local}, nil, mtu,
		netstack2.NetTunOptions{EnableTCPProxy: true, EnableUDPProxy: true, EnableICMPProxy: true},
	)
	if err != nil {
		return err
	}
	network.AddProxySubnetRule(netstack2.SubnetRule{SourcePrefix: source, DestPrefix: target})
	gateway := device.NewDevice(tun, conn.NewDefaultBind(), device.NewLogger(device.LogLevelError, ""))
	if err := gateway.IpcSet(string(config)); err != nil {
		return err
	}
	if err := gateway.Up(); err != nil {
		return err
	}
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGINT, syscall.SIGTERM)
	<-end
	gateway.Close()
	return nil
}
