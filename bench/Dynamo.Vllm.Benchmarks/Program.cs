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

if (args is ["token-path", var stepMilliseconds, .. var streams])
{
    await TokenPath.MeasureAsync(Array.ConvertAll(streams, int.Parse), int.Parse(stepMilliseconds, null));
    return;
}

if (args is [TokenPath.PeerVerb, var input, var output, .. var numbers])
{
    var (count, steps, pace) = (int.Parse(numbers[0], null), int.Parse(numbers[1], null), int.Parse(numbers[2], null));
    await TokenPathPeer.RunAsync(input, output, count, steps, pace);
    return;
}

BenchmarkSwitcher.FromAssembly(typeof(BlockConversionBenchmarks).Assembly).Run(args);
