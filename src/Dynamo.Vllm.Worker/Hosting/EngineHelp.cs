using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Engine;
using Dynamo.Vllm.Python.Locating;
using Dynamo.Vllm.Worker.Configuration;

namespace Dynamo.Vllm.Worker.Hosting;

/// <summary>vLLM's part of <c>--help</c>, which only its own parser knows.</summary>
internal static class EngineHelp
{
    private static readonly TimeSpan Limit = TimeSpan.FromMinutes(2); // importing vLLM from a cold disk

    /// <returns>Null where there is no Python or no vLLM: the other groups still print, with a line that says what is missing.</returns>
    public static async Task<string?> ReadAsync(string[] arguments, IReadOnlyDictionary<string, string> environment)
    {
        // Only these two of our options change what the engine part shows.
        var chosen = RawArguments.ValueOf(arguments, "--python") ?? environment.GetValueOrDefault("DYN_VLLM_PYTHON");
        var simulated = arguments.Contains("--simulated-engine") ? Path.Combine(AppContext.BaseDirectory, "simulated") : null;
        try
        {
            var python = PythonLocator.Locate(chosen, name => environment.GetValueOrDefault(name));
            using var loggers = LoggerFactory.Create(_ => { });
            var engine = new VllmEngine(python, new VllmEngineOptions { SimulatedPath = simulated }, loggers);
            engine.StartInterpreter();
            using var limit = new CancellationTokenSource(Limit);
            return await engine.HelpAsync(limit.Token).ConfigureAwait(false);
        }
        catch (Exception exception) when (exception is PythonNotUsableException or EngineCallException or OperationCanceledException)
        {
            return null;
        }
    }
}
