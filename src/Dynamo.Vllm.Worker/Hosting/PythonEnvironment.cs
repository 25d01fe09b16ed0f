using Dynamo.Vllm.Python.Platform;
using Dynamo.Vllm.Worker.Configuration;

namespace Dynamo.Vllm.Worker.Hosting;

/// <summary>What Python and its children must find in the environment (cli.md, 7).</summary>
internal static class PythonEnvironment
{
    public const string MetricsFolder = "PROMETHEUS_MULTIPROC_DIR";

    /// <summary>Before the interpreter starts, when setenv is still safe.</summary>
    /// <exception cref="ConfigurationException">The metrics folder that is named cannot be written.</exception>
    public static void Prepare(WorkerSettings settings)
    {
        foreach (var (name, value) in settings.ExportedVariables)
        {
            ProcessEnvironment.Set(name, value);
        }

        if (!settings.Environment.ContainsKey("PYTHONHASHSEED"))
        {
            ProcessEnvironment.Set("PYTHONHASHSEED", "0"); // equal block hashes on every worker
        }

        if (NamedMetricsFolder(settings) is not { } folder)
        {
            ProcessEnvironment.Set(MetricsFolder, null); // present and empty, it would mean the current folder to the metrics library
        }
        else if (TemporaryFolders.TryCreate(folder) is { } problem)
        {
            throw new ConfigurationException($"{MetricsFolder}={folder}: {problem}");
        }

        ProcessEnvironment.Set("VLLM_NO_USAGE_STATS", "1");
        ProcessEnvironment.Set("VLLM_WORKER_MULTIPROC_METHOD", "spawn"); // a fork of a process with managed threads crashes
    }

    /// <summary>The metrics folder that the operator names, or null: empty means unset, as in the reference.</summary>
    public static string? NamedMetricsFolder(WorkerSettings settings) =>
        settings.Environment.GetValueOrDefault(MetricsFolder) is { Length: > 0 } folder ? folder : null;
}
