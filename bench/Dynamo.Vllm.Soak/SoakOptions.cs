namespace Dynamo.Vllm.Soak;

/// <summary>Shape of a soak.</summary>
/// <param name="Length">From the first request to the last.</param>
/// <param name="Discovery">file or etcd.</param>
/// <param name="Requests">tcp or nats.</param>
/// <param name="Clients">Requests in flight; each client has one at a time.</param>
/// <param name="FaultEvery">Between two faults.</param>
/// <param name="SampleEvery">Between two looks at the worker's process.</param>
/// <param name="RequestLimit">After this without an end a request counts as hung.</param>
/// <param name="RssGrowthMax">MiB that the resident set may grow from the first third to the end.</param>
/// <param name="DescriptorGrowthMax">Open descriptors likewise.</param>
/// <param name="Seed">Of faults and requests.</param>
internal sealed record SoakOptions(
    TimeSpan Length,
    string Discovery,
    string Requests,
    int Clients,
    TimeSpan FaultEvery,
    TimeSpan SampleEvery,
    TimeSpan RequestLimit,
    double RssGrowthMax,
    int DescriptorGrowthMax,
    int Seed
);
