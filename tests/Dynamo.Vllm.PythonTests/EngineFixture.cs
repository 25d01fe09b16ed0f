using System.Text.Json.Nodes;
using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Engine;
using Dynamo.Vllm.Python.Locating;
using Dynamo.Vllm.Testing;
using Dynamo.Vllm.Testing.Logs;

namespace Dynamo.Vllm.PythonTests;

/// <summary>One interpreter with the simulated engine for all tests: CPython can be started once per process.</summary>
public sealed class EngineFixture : IAsyncLifetime
{
    public static readonly TimeSpan TimeLimit = TimeSpan.FromSeconds(30);

    private readonly LogCapture _log = new();

    public VllmEngine Engine { get; private set; } = null!;

    public PythonInstallation Python { get; private set; } = null!;

    public JsonObject EngineArguments { get; private set; } = null!;

    public async Task InitializeAsync()
    {
        Python = PythonLocator.Locate(null, Environment.GetEnvironmentVariable);
        Engine = new VllmEngine(Python, new VllmEngineOptions { SimulatedPath = SimulatedPaths.SimulatedEngine }, _log);
        Engine.StartInterpreter();
        using var limit = new CancellationTokenSource(TimeLimit);
        var parsed = await Engine.ParseAsync(
            [
                "--model",
                Path.Combine(SimulatedPaths.SimulatedEngine, "model"),
                "--max-model-len",
                "1k",
                "--block-size",
                "16",
                "--num-gpu-blocks-override",
                "256",
                "--simulated-step-time-ms",
                "2",
                "--max-num-seqs",
                "64",
                "--enable-prompt-embeds",
            ],
            limit.Token
        );
        EngineArguments = parsed.Values;
        try
        {
            await Engine.BuildAsync(new JsonObject { ["skip_tokenizer_init"] = false }, [], limit.Token);
        }
        catch (EngineCallException exception)
        {
            throw new InvalidOperationException($"{exception.Message}\n{_log.Text}", exception);
        }
    }

    public async Task DisposeAsync()
    {
        using var limit = new CancellationTokenSource(TimeLimit);
        await Engine.ShutdownAsync(TimeSpan.Zero, limit.Token);
    }
}

[CollectionDefinition("engine")]
public sealed class EngineCollection : ICollectionFixture<EngineFixture>;
