using System.Diagnostics;
using System.Text.Json;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Core;
using Dynamo.Vllm.Engine.Guest;
using Dynamo.Vllm.Python.Platform;

namespace Dynamo.Vllm.Engine.Processes;

/// <summary>vLLM's part of a node whose leader is elsewhere: a process of its own, below this one. Dies with this one.</summary>
public sealed class HeadlessNode
{
    private readonly Process _process;

    private HeadlessNode(Process process)
    {
        _process = process;
        Ended = WaitAsync();
    }

    public int Id => _process.Id;

    /// <summary>Its exit code, once it has one.</summary>
    public Task<int> Ended { get; }

    /// <param name="python">Executable of an environment that has vLLM.</param>
    /// <param name="arguments">vLLM's own, as they were given.</param>
    /// <param name="overrides">What is set in them afterwards, by destination.</param>
    /// <param name="environment">Variables beside this process's; null removes one.</param>
    /// <param name="simulatedPath">In front of where modules are looked for; null for the vLLM that is installed.</param>
    public static HeadlessNode Start(
        string python,
        IEnumerable<string> arguments,
        JsonObject overrides,
        IReadOnlyDictionary<string, string?> environment,
        string? simulatedPath
    )
    {
        var settings = new JsonObject
        {
            ["arguments"] = new JsonArray([.. arguments.Select(argument => JsonValue.Create(argument))]),
            ["overrides"] = overrides.DeepClone(),
        };
        var start = new ProcessStartInfo(python)
        {
            ArgumentList =
            {
                "-c",
                GuestSources.Load()["dynamo_vllm.headless"],
                JsonSerializer.Serialize(settings, JsonNodeContext.Default.JsonObject),
            },
        };
        foreach (var (name, value) in environment)
        {
            start.Environment[name] = value;
        }

        if (simulatedPath is not null)
        {
            start.Environment["PYTHONPATH"] = simulatedPath;
        }

        return new HeadlessNode(Process.Start(start) ?? throw new InvalidOperationException("the process was not started"));
    }

    /// <summary>Asks it to end, and waits for that; whoever has not ended by the limit is killed by the caller.</summary>
    public async Task EndAsync(TimeSpan limit)
    {
        if (!Ended.IsCompleted)
        {
            Signals.Terminate(Id);
            await Task.WhenAny(Ended, Task.Delay(limit)).ConfigureAwait(false);
        }
    }

    private async Task<int> WaitAsync()
    {
        await _process.WaitForExitAsync().ConfigureAwait(false);
        return _process.ExitCode;
    }
}
