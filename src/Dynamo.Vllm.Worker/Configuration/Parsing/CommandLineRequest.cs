namespace Dynamo.Vllm.Worker.Configuration.Parsing;

/// <summary>What the command line asks the program to do.</summary>
public enum CommandLineRequest
{
    Run,
    ShowHelp,
    ShowVersion,
}
