using System.Collections;
using Dynamo.Vllm.Python.Platform;
using Dynamo.Vllm.Worker.Hosting;
using Dynamo.Vllm.Worker.Tools;

Descriptors.RequireStandard();
Signals.AcceptStopRequests();
if (ToolProgram.IsTool(args))
{
    return await ToolProgram.RunAsync(args);
}

var environment = Environment
    .GetEnvironmentVariables()
    .Cast<DictionaryEntry>()
    .ToDictionary(entry => (string)entry.Key, entry => (string?)entry.Value ?? "", StringComparer.Ordinal);
var exitCode = await WorkerProgram.RunAsync(args, environment);

// Not by returning: exit handlers of native libraries crash beside a live interpreter, and threads of its extension modules may never end.
DiagnosticFiles.Remove();
ProcessEnvironment.ExitImmediately(exitCode);
return exitCode;
