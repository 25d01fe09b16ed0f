using System.Globalization;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Python.Locating;
using Dynamo.Vllm.Worker.Configuration;
using Dynamo.Vllm.Worker.Configuration.Dump;

namespace Dynamo.Vllm.Worker.Hosting;

/// <summary>Collects what <c>--dump-config-to</c> says of this machine and process, beside the configuration.</summary>
internal static class ConfigurationDumpSource
{
    public static async Task<string> RenderAsync(
        WorkerConfiguration configuration,
        IReadOnlyDictionary<string, string> environment,
        PythonInstallation python,
        IEngineControl engine,
        CancellationToken cancellationToken
    )
    {
        var facts = new ConfigurationDumpFacts
        {
            CommandLine = Environment.GetCommandLineArgs(),
            System = SystemFacts.Collect(),
            Python = new JsonObject
            {
                ["python_version"] = python.Version,
                ["python_version_info"] = VersionNumbers(python),
                ["python_executable"] = python.Executable,
            },
            InstalledPackages = await engine.ReadInstalledPackagesAsync(cancellationToken).ConfigureAwait(false),
            Gpu = GpuFacts.Collect(),
        };
        return ConfigurationDump.Render(configuration, environment, facts);
    }

    /// <summary>The third number is in the text alone: "3.11.7 (main, ...".</summary>
    private static JsonObject VersionNumbers(PythonInstallation python)
    {
        var numbers = python.Version.Split(' ')[0].Split('.');
        var digits = numbers.Length > 2 ? string.Concat(numbers[2].TakeWhile(char.IsAsciiDigit)) : "";
        var micro = int.TryParse(digits, CultureInfo.InvariantCulture, out var number) ? number : 0;
        return new JsonObject
        {
            ["major"] = python.Major,
            ["minor"] = python.Minor,
            ["micro"] = micro,
        };
    }
}
