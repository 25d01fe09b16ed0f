using System.Text;
using Dynamo.Vllm.Python.Platform;
using Dynamo.Vllm.Worker.Configuration;

namespace Dynamo.Vllm.Worker.Hosting;

/// <summary>What Python and its children must find in the environment (cli.md, 7).</summary>
internal static class PythonEnvironment
{
    public const string MetricsFolder = "PROMETHEUS_MULTIPROC_DIR";

    /// <summary>Where vLLM puts the sockets between its processes, which it does not remove.</summary>
    private const string SocketFolder = "VLLM_RPC_BASE_PATH";

    /// <summary>Of a path of a socket (sun_path of unix(7), without its end), less what vLLM adds: a slash and a UUID.</summary>
    private const int SocketFolderBytesMax = 107 - 37;

    /// <summary>Before the interpreter starts, when setenv is still safe.</summary>
    /// <param name="settings">The environment as it is.</param>
    /// <param name="folder">Takes the engine's sockets, unless the operator names a place or its path is too long for one.</param>
    /// <exception cref="ConfigurationException">The metrics folder that is named cannot be written.</exception>
    public static void Prepare(WorkerSettings settings, WorkerFolder folder)
    {
        foreach (var (name, value) in settings.ExportedVariables)
        {
            ProcessEnvironment.Set(name, value);
        }

        if (!settings.Environment.ContainsKey("PYTHONHASHSEED"))
        {
            ProcessEnvironment.Set("PYTHONHASHSEED", "0"); // equal block hashes on every worker
        }

        if (
            settings.Environment.GetValueOrDefault(SocketFolder) is not { Length: > 0 }
            && Encoding.UTF8.GetByteCount(folder.Path) <= SocketFolderBytesMax
        )
        {
            ProcessEnvironment.Set(SocketFolder, folder.Path);
        }

        if (NamedMetricsFolder(settings) is not { } metrics)
        {
            ProcessEnvironment.Set(MetricsFolder, null); // present and empty, it would mean the current folder to the metrics library
        }
        else if (TemporaryFolders.TryCreate(metrics) is { } problem)
        {
            throw new ConfigurationException($"{MetricsFolder}={metrics}: {problem}");
        }

        ProcessEnvironment.Set("VLLM_NO_USAGE_STATS", "1");
        ProcessEnvironment.Set("VLLM_WORKER_MULTIPROC_METHOD", "spawn"); // a fork of a process with managed threads crashes
    }

    /// <summary>The metrics folder that the operator names, or null: empty means unset, as in the reference.</summary>
    public static string? NamedMetricsFolder(WorkerSettings settings) =>
        settings.Environment.GetValueOrDefault(MetricsFolder) is { Length: > 0 } folder ? folder : null;
}
