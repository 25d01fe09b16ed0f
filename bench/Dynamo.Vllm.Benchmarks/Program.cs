using BenchmarkDotNet.Running;
using Dynamo.Vllm.Benchmarks;

if (args is ["crossings"])
{
    await Crossings.MeasureAsync();
    return;
}

if (args is ["zmq"])
{
    await ZmqComparison.MeasureAsync();
    return;
}

BenchmarkSwitcher.FromAssembly(typeof(BlockConversionBenchmarks).Assembly).Run(args);
