using System.CommandLine;
using Dynamo.Vllm.Soak;

var minutes = new Option<double>("--minutes") { Description = "Length", DefaultValueFactory = _ => 30 };
var discovery = new Option<string>("--discovery")
{
    Description = "Discovery store",
    DefaultValueFactory = _ => "file",
}.AcceptOnlyFromAmong("file", "etcd");
var requests = new Option<string>("--requests") { Description = "Request plane", DefaultValueFactory = _ => "tcp" }.AcceptOnlyFromAmong(
    "tcp",
    "nats"
);
var clients = new Option<int>("--clients") { Description = "Requests in flight", DefaultValueFactory = _ => 16 };
var faultEvery = new Option<double>("--fault-every") { Description = "Seconds between two faults", DefaultValueFactory = _ => 2 };
var sampleEvery = new Option<double>("--sample-every")
{
    Description = "Seconds between two samples of the worker's process",
    DefaultValueFactory = _ => 30,
};
var requestLimit = new Option<double>("--request-limit")
{
    Description = "Seconds after which a request counts as hung",
    DefaultValueFactory = _ => 40,
};
var rssGrowth = new Option<double>("--rss-growth-max")
{
    Description = "MiB that the resident set may grow from the first third to the end",
    DefaultValueFactory = _ => 32,
};
var descriptorGrowth = new Option<int>("--descriptor-growth-max") { Description = "Descriptors likewise", DefaultValueFactory = _ => 32 };
var seed = new Option<int>("--seed") { Description = "Of faults and requests", DefaultValueFactory = _ => 1 };
var root = new RootCommand(
    "Our worker on the simulated engine under a fault every few seconds: every request must end, and the process must not grow."
)
{
    minutes,
    discovery,
    requests,
    clients,
    faultEvery,
    sampleEvery,
    requestLimit,
    rssGrowth,
    descriptorGrowth,
    seed,
};
root.SetAction(
    async (result, cancellation) =>
        await SoakRun.RunAsync(
            new SoakOptions(
                TimeSpan.FromMinutes(result.GetValue(minutes)),
                result.GetValue(discovery)!,
                result.GetValue(requests)!,
                result.GetValue(clients),
                TimeSpan.FromSeconds(result.GetValue(faultEvery)),
                TimeSpan.FromSeconds(result.GetValue(sampleEvery)),
                TimeSpan.FromSeconds(result.GetValue(requestLimit)),
                result.GetValue(rssGrowth),
                result.GetValue(descriptorGrowth),
                result.GetValue(seed)
            ),
            cancellation
        )
);
return await root.Parse(args).InvokeAsync();
