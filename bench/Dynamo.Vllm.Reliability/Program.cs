using System.CommandLine;
using Dynamo.Vllm.Reliability;

var stacks = new Option<Stack[]>("--stacks")
{
    Description = "Whose workers",
    DefaultValueFactory = _ => [Stack.Ours, Stack.Official],
    AllowMultipleArgumentsPerToken = true,
};
var faults = new Option<Fault[]>("--faults")
{
    Description = "What is done to the first of two workers",
    DefaultValueFactory = _ => Enum.GetValues<Fault>(),
    AllowMultipleArgumentsPerToken = true,
};
var streams = new Option<int>("--streams") { Description = "Clients", DefaultValueFactory = _ => 16 };
var tokens = new Option<int>("--tokens") { Description = "Tokens of an answer", DefaultValueFactory = _ => 64 };
var seconds = new Option<double>("--seconds") { Description = "Length of the load for each fault", DefaultValueFactory = _ => 90 };
var freeze = new Option<double>("--freeze") { Description = "Seconds that what is frozen stays so", DefaultValueFactory = _ => 60 };
var root = new RootCommand(
    "Two workers behind the official frontend with migration, streaming clients with known answers, one fault; a table of what the "
        + "clients got."
)
{
    stacks,
    faults,
    streams,
    tokens,
    seconds,
    freeze,
};
root.SetAction(
    async (result, _) =>
    {
        var options = new ReliabilityOptions(
            result.GetValue(stacks)!,
            result.GetValue(faults)!,
            result.GetValue(streams),
            result.GetValue(tokens),
            TimeSpan.FromSeconds(result.GetValue(seconds)),
            TimeSpan.FromSeconds(result.GetValue(freeze))
        );
        Console.WriteLine(FaultRun.Header);
        var isGood = true;
        foreach (var fault in options.Faults)
        {
            foreach (var stack in options.Stacks)
            {
                var run = await FaultRun.RunAsync(stack, fault, options);
                Console.WriteLine(run);
                isGood &= run.IsGood || stack == Stack.Official;
            }
        }

        return isGood ? 0 : 1;
    }
);
return await root.Parse(args).InvokeAsync();
