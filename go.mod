module example.com/lifecycle

go 1.25.0

require (
	github.com/sevlyar/go-daemon v0.1.7
	github.com/stretchr/testify v1.12.1
	golang.org/x/sys v0.47.0
)

require (
	github.com/kardianos/osext v0.0.0-20190222173326-2bc1f35cddc0 // indirect
	go.yaml.in/yaml/v3 v3.0.5 // indirect
)
