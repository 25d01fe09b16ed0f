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

var requests = new Option<int>("--requests") { Description = "How many are sent", DefaultValueFactory = _ => 20_000 };
var clients = new Option<int>("--streams") { Description = "Clients", DefaultValueFactory = _ => 48 };
var length = new Option<int>("--tokens") { Description = "Tokens of an answer", DefaultValueFactory = _ => 24 };
var workers = new Option<int>("--workers") { Description = "Of each role", DefaultValueFactory = _ => 2 };
var disaggregated = new Option<bool>("--disaggregated") { Description = "Prefill and decode workers instead of aggregated ones" };
var seed = new Option<int>("--seed") { Description = "Of the faults and their lengths", DefaultValueFactory = _ => 1 };
var kinds = new Option<ChaosFault[]>("--faults")
{
    Description = "What happens, by chance",
    DefaultValueFactory = _ => Enum.GetValues<ChaosFault>(),
    AllowMultipleArgumentsPerToken = true,
};
var chaos = new Command(
    "chaos",
    "Workers on the simulated engine behind the official frontend, real nats-server and etcd: one fault after the other, by chance, under "
        + "clients with known answers. Fails if one hung, broke off, got other words or was lost."
)
{
    requests,
    clients,
    length,
    workers,
    disaggregated,
    kinds,
    seed,
};
chaos.SetAction(
    async (result, _) =>
        await new ChaosRun(
            new ChaosOptions(
                result.GetValue(requests),
                result.GetValue(clients),
                result.GetValue(length),
                result.GetValue(workers),
                result.GetValue(disaggregated),
                result.GetValue(kinds)!,
                result.GetValue(seed)
            )
        ).RunAsync()
            ? 0
            : 1
);
root.Subcommands.Add(chaos);
return await root.Parse(args).InvokeAsync();
