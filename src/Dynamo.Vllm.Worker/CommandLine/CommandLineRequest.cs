namespace Dynamo.Vllm.Worker.CommandLine;

/// <summary>What the command line asks the program to do.</summary>
public enum CommandLineRequest
{
    Run,
    ShowHelp,
    ShowVersion,
}
