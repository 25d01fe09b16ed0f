namespace Dynamo.Vllm.Worker.Configuration.Parsing;

/// <summary>What the command line asks for.</summary>
/// <param name="Request">Running, or one of the two texts.</param>
/// <param name="Arguments">Present exactly when <paramref name="Request"/> is <see cref="CommandLineRequest.Run"/>.</param>
public sealed record ParsedCommandLine(CommandLineRequest Request, WorkerArguments? Arguments);
