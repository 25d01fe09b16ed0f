// Renders a chart without dependencies as "helm template" does, for machines without Helm: the same text/template and sprig under the same
// options, Helm's own functions that charts here use, values that are merged and checked against values.schema.json as Helm does.
//
//	render CHART [-f VALUES.yaml]... > manifests
//
// Not here, and an error where a chart asks for it: dependencies, hooks, crds/, lookup, tpl, .Files.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"text/template"

	"github.com/Masterminds/sprig"
	"github.com/xeipuuv/gojsonschema"
	"sigs.k8s.io/yaml"
)

type table = map[string]interface{}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "render:", err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	if len(arguments) == 0 || len(arguments)%2 == 0 {
		return fmt.Errorf("usage: render CHART [-f VALUES.yaml]")
	}
	folder := arguments[0]
	chart, err := read(filepath.Join(folder, "Chart.yaml"))
	if err != nil {
		return err
	}
	values, err := read(filepath.Join(folder, "values.yaml"))
	if err != nil {
		return err
	}
	for i := 1; i < len(arguments); i += 2 {
		if arguments[i] != "-f" {
			return fmt.Errorf("%s is not known", arguments[i])
		}
		more, err := read(arguments[i+1])
		if err != nil {
			return err
		}
		merge(values, more)
	}
	if err := check(filepath.Join(folder, "values.schema.json"), values); err != nil {
		return err
	}
	// Helm gives templates a struct with these names.
	metadata := table{"Name": chart["name"], "Version": chart["version"], "AppVersion": chart["appVersion"]}
	return render(folder, table{
		"Values":  values,
		"Chart":   metadata,
		"Release": table{"Name": "release", "Namespace": "default", "Service": "Helm", "IsInstall": true, "IsUpgrade": false, "Revision": 1},
	})
}

func read(path string) (table, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	values := table{}
	// Numbers are float64, as in Helm: JSON is in between.
	if err := yaml.Unmarshal(text, &values); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return values, nil
}

// merge takes over tables key by key and everything else as a whole; null removes a key.
func merge(into, from table) {
	for key, value := range from {
		if value == nil {
			delete(into, key)
			continue
		}
		inner, isTable := value.(table)
		old, wasTable := into[key].(table)
		if isTable && wasTable {
			merge(old, inner)
		} else {
			into[key] = value
		}
	}
}

func check(path string, values table) error {
	schema, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	text, err := json.Marshal(values)
	if err != nil {
		return err
	}
	result, err := gojsonschema.Validate(gojsonschema.NewBytesLoader(schema), gojsonschema.NewBytesLoader(text))
	if err != nil {
		return err
	}
	problems := []string{}
	for _, problem := range result.Errors() {
		problems = append(problems, problem.String())
	}
	if len(problems) > 0 {
		return fmt.Errorf("values don't meet the schema: %s", strings.Join(problems, "; "))
	}
	return nil
}

func functions(root *template.Template) template.FuncMap {
	made := sprig.TxtFuncMap()
	delete(made, "env")
	delete(made, "expandenv")
	made["toYaml"] = func(value interface{}) string {
		text, err := yaml.Marshal(value)
		if err != nil {
			return ""
		}
		return strings.TrimSuffix(string(text), "\n")
	}
	made["fromJson"] = func(text string) table {
		value := table{}
		if err := json.Unmarshal([]byte(text), &value); err != nil {
			value["Error"] = err.Error()
		}
		return value
	}
	made["include"] = func(name string, data interface{}) (string, error) {
		var text bytes.Buffer
		err := root.ExecuteTemplate(&text, name, data)
		return text.String(), err
	}
	return made
}

func render(folder string, values table) error {
	root := template.New("chart").Option("missingkey=zero")
	root.Funcs(functions(root))
	files, err := filepath.Glob(filepath.Join(folder, "templates", "*"))
	if err != nil {
		return err
	}
	sort.Strings(files)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if _, err := root.New(filepath.Base(file)).Parse(string(text)); err != nil {
			return err
		}
	}
	for _, file := range files {
		name := filepath.Base(file)
		if strings.HasPrefix(name, "_") || name == "NOTES.txt" {
			continue
		}
		var text bytes.Buffer
		if err := root.ExecuteTemplate(&text, name, values); err != nil {
			return err
		}
		manifest := strings.TrimSpace(strings.ReplaceAll(text.String(), "<no value>", ""))
		if manifest != "" {
			fmt.Printf("---\n# Source: %s\n%s\n", name, manifest)
		}
	}
	return nil
}
