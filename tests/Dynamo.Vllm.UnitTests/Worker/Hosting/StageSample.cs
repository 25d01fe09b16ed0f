using System.Runtime.CompilerServices;
using Dynamo.Vllm.Worker.Configuration;
using Dynamo.Vllm.Worker.Configuration.Parsing;
using Dynamo.Vllm.Worker.Hosting;
using Dynamo.Vllm.Worker.Logging;
using Dynamo.Vllm.Worker.StatusPort;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;

namespace Dynamo.Vllm.UnitTests.Worker.Hosting;

/// <summary>The worker's services for arguments and an environment; nothing of them is started.</summary>
internal static class StageSample
{
    public static WorkerSettings Settings(IReadOnlyDictionary<string, string> environment, params string[] arguments)
    {
        var parsed = CommandLineParser.Parse(arguments, environment).Arguments!;
        return WorkerSettings.From(parsed, environment);
    }

    public static IHost Host(WorkerSettings settings)
    {
        // A real one would take over the descriptors of the test runner; this one is handed on and never used.
        var outputs = (StandardOutputs)RuntimeHelpers.GetUninitializedObject(typeof(StandardOutputs));
        var builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        builder.Services.AddSingleton(outputs);
        builder.UseStatusServer().Services.AddDynamoWorker(settings);
        return builder.Build();
    }
}
