module example.com/lifecycle/bench/upgrade

go 1.25.0

replace example.com/lifecycle => ../..

require (
	example.com/lifecycle v0.0.0-00010101000000-000000000000
	github.com/cloudflare/tableflip v1.2.3
)

require (
	github.com/kardianos/osext v0.0.0-20190222173326-2bc1f35cddc0 // indirect
	github.com/sevlyar/go-daemon v0.1.7 // indirect
	golang.org/x/sys v0.47.0 // indirect
)
