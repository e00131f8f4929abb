module wirestack/bench/peers

go 1.25.0

require (
	github.com/fosrl/newt v1.16.1-0.20260824160219-1121ac53573f
	golang.org/x/crypto v0.53.0
	golang.org/x/net v0.56.0
	golang.org/x/sys v0.46.0
	golang.zx2c4.com/wireguard v0.0.0-20250521234502-f333402bd9cb
)

require (
	github.com/gaissmai/bart v0.28.0 // indirect
	github.com/google/btree v1.1.3 // indirect
	golang.org/x/time v0.12.0 // indirect
	golang.zx2c4.com/wintun v0.0.0-20230126152724-0fa3db229ce2 // indirect
	gvisor.dev/gvisor v0.0.0-20250503011706-39ed1f5ac29c // indirect
)
