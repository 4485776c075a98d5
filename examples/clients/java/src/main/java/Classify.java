// Queries TensorFlow Serving from Java: the label of each text and its probability.
//
// Not compiled in this project's tests: gRPC's stubs for Java are not installed there. They come from the
// protos of tensorflow/serving and tensorflow/tensorflow (release r2.20); see docs/deployment.md.
import com.google.protobuf.ByteString;
import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import org.tensorflow.framework.DataType;
import org.tensorflow.framework.TensorProto;
import org.tensorflow.framework.TensorShapeProto;
import tensorflow.serving.Model.ModelSpec;
import tensorflow.serving.Predict.PredictRequest;
import tensorflow.serving.Predict.PredictResponse;
import tensorflow.serving.PredictionServiceGrpc;

public final class Classify {
  /** UNAVAILABLE is retried; every other status is the caller's to handle. */
  private static final Map<String, ?> SERVICE_CONFIG =
      Map.of(
          "methodConfig",
          List.of(
              Map.of(
                  "name", List.of(Map.of("service", "tensorflow.serving.PredictionService")),
                  "retryPolicy",
                      Map.of(
                          "maxAttempts", 5.0,
                          "initialBackoff", "0.1s",
                          "maxBackoff", "1s",
                          "backoffMultiplier", 2.0,
                          "retryableStatusCodes", List.of("UNAVAILABLE")))));

  private Classify() {}

  /** A tensor of texts, string [B]. */
  static TensorProto strings(List<String> texts) {
    TensorShapeProto.Builder shape = TensorShapeProto.newBuilder();
    shape.addDimBuilder().setSize(texts.size());
    TensorProto.Builder tensor =
        TensorProto.newBuilder().setDtype(DataType.DT_STRING).setTensorShape(shape);
    texts.forEach(text -> tensor.addStringVal(ByteString.copyFromUtf8(text)));
    return tensor.build();
  }

  /** Arguments: HOST:PORT MODEL TEXT... */
  public static void main(String[] arguments) throws InterruptedException {
    List<String> texts = Arrays.asList(arguments).subList(2, arguments.length);
    ManagedChannel channel =
        ManagedChannelBuilder.forTarget("dns:///" + arguments[0])
            .usePlaintext()
            .defaultLoadBalancingPolicy("round_robin")
            .defaultServiceConfig(SERVICE_CONFIG)
            .build();
    try {
      PredictResponse answer =
          PredictionServiceGrpc.newBlockingStub(channel)
              .withDeadlineAfter(10, TimeUnit.SECONDS)
              .predict(
                  PredictRequest.newBuilder()
                      .setModelSpec(ModelSpec.newBuilder().setName(arguments[1]))
                      .putInputs("text", strings(texts))
                      .build());
      TensorProto labels = answer.getOutputsOrThrow("label");
      TensorProto probabilities = answer.getOutputsOrThrow("probabilities");
      int classes = (int) probabilities.getTensorShape().getDim(1).getSize();
      for (int row = 0; row < texts.size(); row++) {
        float best = 0;
        for (int i = row * classes; i < (row + 1) * classes; i++) {
          best = Math.max(best, probabilities.getFloatVal(i));
        }
        System.out.printf("%s %.4f%n", labels.getStringVal(row).toStringUtf8(), best);
      }
    } finally {
      channel.shutdown().awaitTermination(5, TimeUnit.SECONDS);
    }
  }
}
